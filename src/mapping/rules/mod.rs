//! The rules that an entity is held to: one registry, so that `hisync explain CODE`, the documents
//! and a site's own weights speak of the same things.

mod clinical;
pub(super) mod concepts;
pub(super) mod dictionary;
pub(super) mod package;
pub(super) mod report;
mod texts;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::model::{Entity, Finding, Severity};

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The stable word, in findings and in a mapping's `[rules]`.
    pub code: &'static str,
    /// What it weighs unless a mapping says otherwise.
    pub severity: Severity,
    /// Whether a mapping may not change its weight.
    pub fixed: bool,
    /// What it says, in one line.
    pub title: &'static str,
    /// What to do about it.
    pub help: &'static str,
}

macro_rules! rules {
    ($($name:ident $code:literal $severity:ident $fixed:literal $title:literal $help:literal;)*) => {
        $(
            #[doc = $title]
            pub(super) static $name: Rule =
                Rule { code: $code, severity: Severity::$severity, fixed: $fixed, title: $title, help: $help };
        )*
        static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    EMPTY_KEY "empty-key" Reject true "a part of the entity's key is empty"
        "Without its key a record can't be told from others. See whether [key] names the right columns.";
    MODEL_MISMATCH "model-mismatch" Hold true "what was read does not make an entity"
        "A required value could not be read; the other findings say which. Alone, this is a fault of hisync.";
    MANIFEST_MISMATCH "manifest-mismatch" Reject true "the children read and the children mapped don't add up"
        "A fault of hisync: nothing was sent. Keep the record and report it.";
    NO_ENTITY "no-entity" Hold true "the record holds none of the entities that the mapping looks for"
        "See whether [mapping] each names the right list.";
    REPEATED_ENTITY "repeated-entity" Hold true "the record holds one entity more than once, with different content"
        "Name in [key] what tells them apart, or let [mapping] each go over what is one entity.";
    HOSPITAL_MISMATCH "hospital-mismatch" Reject true "the record names another hospital"
        "The source mixes hospitals, or the configuration names the wrong one.";
    CAMPUS_MISMATCH "campus-mismatch" Hold false "the record names another campus"
        "Give each campus its own source, or filter in the stream.";
    MISSING_COLUMN "missing-column" Hold false "the source no longer has a column that the mapping reads"
        "A renamed column must not look like no data. Correct the name, or write `optional = true`.";
    MISSING_VALUE "missing-value" Hold false "a value that the entity needs is empty in the source"
        "Correct it in the source, name another candidate in `from`, or justify a `default`.";
    UNREADABLE_VALUE "unreadable-value" Hold false "a value is not written as its field expects"
        "Give the field its `format`, a code table, or the words that mean none.";
    NOT_A_SCALAR "not-a-scalar" Hold false "a single value is expected and the source has several"
        "Name the component (`PID-5.1`), the repetition (`PID-3[2]`), or iterate with `each`.";
    DAMAGED_TEXT "damaged-text" Hold false "characters of a text were lost before it was read"
        "A rare character was stored as ? or U+FFFD. Only the source can repair it.";
    IMPLAUSIBLE_DATE "implausible-date" Hold false "a date lies outside all plausible years"
        "Programs write such days for none: list them in the field's `none`.";
    UNKNOWN_CODE "unknown-code" Hold true "a local code is not in its code table"
        "Add it to the table; what it concerns is mapped again. The table's `unknown` decides between hold and flag.";
    MONEY_FRACTION "money-fraction" Hold false "a price has a part of a fen"
        "See whether `scale` is right; hisync does not round prices.";
    EXPRESSION "expression" Hold false "an expression can't be worked out for this record"
        "See whether its columns exist and are of the kind that it expects.";
    GROUP_DISAGREES "group-disagrees" Hold false "rows of one group say different things about the group"
        "See whether `group_by` names every column that tells groups apart.";
    UNIT_UNKNOWN "unit-unknown" Warn false "a unit is not certain"
        "The literal is delivered. A unit is never guessed.";
    FLAG_UNKNOWN "flag-unknown" Warn false "an abnormal flag is not known"
        "Bind the source's flags with a code table.";
    PRICE_NEGATIVE "price-negative" Reject false "a price is negative" "Correct it in the source.";
    SALE_ABOVE_ORIGINAL "sale-above-original" Warn false "the price asked is above the original price"
        "The two columns may be swapped.";
    PRICE_ZERO "price-zero" Hold false "a package costs nothing, and its items do"
        "The price may not have been entered yet, or stand in another column.";
    PRICE_SUM "price-sum" Warn false "the prices of what is always done don't add up to the original price"
        "An item or a price may be missing, or the columns may be swapped.";
    PACKAGE_EMPTY "package-empty" Hold false "a package has no items"
        "A package without items can't be done. The child query may have failed to find them.";
    DUPLICATE_ITEM "duplicate-item" Hold false "the same item stands twice in a list with different content"
        "A join may fan out.";
    CHOICE_IMPOSSIBLE "choice-impossible" Hold false "a choice can't be made as it is described"
        "At most must not be below at least, nor above the items; so many must be possible beside what is always done.";
    ITEM_SEX "item-sex" Hold false "an item of one sex stands where only the other can have it"
        "The sex, the item's code or the row may be another person's. `standard_code` says what an item is.";
    AGES_REVERSED "ages-reversed" Hold false "the lowest age is above the highest" "The columns may be swapped.";
    DATES_REVERSED "dates-reversed" Hold false "the last day lies before the first" "The columns may be swapped.";
    COMPANY_MISSING "company-missing" Hold false "a company's package does not say which company" "Map `org_code`.";
    RANGE_REVERSED "range-reversed" Hold false "a lower bound is above its upper bound"
        "The columns may be swapped, or the range may be read wrongly.";
    RANGE_OVERLAP "range-overlap" Warn false "two reference ranges are for the same sex and age"
        "Which of them counts is not known. One may be another unit's or another method's.";
    RANGE_UNREAD "range-unread" Info false "a number has a reference range that could not be read"
        "The literal is delivered; whether the value is inside is not judged.";
    RANGE_SEX "range-sex" Hold false "a result's reference range is for the other sex"
        "The sex or the range may be another person's.";
    COLUMNS_SHIFTED "columns-shifted" Hold false "range, unit or value stand in each other's column"
        "Labels of columns lie: see which column holds what, and name it in the mapping.";
    UNIT_UNFIT "unit-unfit" Hold false "a result's unit is none of what is measured"
        "See whether the unit's column is the right one, and whether `standard_code` names the right thing.";
    MAGNITUDE "magnitude" Hold false "a value fits another unit than its own"
        "Glucose 92 mmol/L is 92 mg/dL. Value or unit may have changed in the source.";
    IMPLAUSIBLE_VALUE "implausible-value" Warn false "a value is outside what is seen in living people"
        "It may be mistyped, or stand in a shifted column.";
    NO_MEMBERS "no-members" Hold false "a group has no detail items"
        "The child query may have failed to find them; a group without results of its own may weigh `warn`.";
    ID_CHECKSUM "id-checksum" Warn false "the check digit of an identity number is wrong"
        "The number is delivered and marked; never match people by it.";
    ID_DISAGREES "id-disagrees" Hold false "a valid identity number disagrees with sex or date of birth"
        "The code table of the sex may be inverted, or two people were mixed up.";
    DATE_ORDER "date-order" Hold false "issue, exam, registration and birth are not in order"
        "A date may be read by the wrong grammar.";
    AGE_DISAGREES "age-disagrees" Warn false "the stated age is more than a year off the date of birth"
        "The person or the date of birth may be wrong.";
    AGE_IMPOSSIBLE "age-impossible" Hold false "the person would be older than 130 years"
        "A date of birth may be read by the wrong grammar, or mean none: list it in the field's `none`.";
    PHONE_FORM "phone-form" Warn false "a telephone number is not one"
        "It may be masked, hold two numbers, or be another column. It is delivered as it is.";
    ISSUED_AT_MISSING "issued-at-missing" Warn false "a final report does not say when it was issued"
        "Map `issued_at`, or see why the source leaves it empty: an unissued report may look final.";
    SIGNER_MISSING "signer-missing" Warn false "a final report of a visit names nobody who concluded or reviewed it"
        "Map `concluded_by` or `reviewed_by`, or see why the source leaves them empty.";
    CONCLUSION_MISSING "conclusion-missing" Warn false "a final report of a visit has neither conclusions nor files"
        "The child query may have failed to find them. Weigh it `hold` where the hospital always concludes.";
    CONCLUSION_DENIES "conclusion-denies" Hold false "nothing abnormal is said beside a critical value"
        "The conclusion may have been written before the result, or be another person's.";
    CONCLUSION_SILENT "conclusion-silent" Warn false "results are flagged, and every conclusion is calm"
        "The doctor may call them harmless; or the conclusion may be another person's.";
    TEXT_AT_LIMIT "text-at-limit" Warn false "a text is exactly as long as a column holds"
        "Its end may be cut off. Name the source's real limits in [mapping] text_limits.";
    RECHECK_ITSELF "recheck-itself" Hold false "a re-check 复查 names itself as the visit before"
        "A re-check is a visit of its own with its own exam number. See which column `previous_exam_no` reads.";
    SUBSTITUTE "substitute" Hold false "someone else came to the exam 替检"
        "A person has to decide whose results these are.";
    EMPTY_VALUE "empty-value" Hold false "a final report has a result without value and without reason"
        "Map the words that mean absence, or correct the source.";
    DUPLICATE_RESULT "duplicate-result" Hold false "one item has two different results in one group"
        "Map `instance` (side, time point, specimen), or find out which one is right.";
    FLAG_OPPOSITE "flag-opposite" Hold false "the source's flag contradicts value and range"
        "Value, range or flag may come from a shifted column.";
    FLAG_DISAGREES "flag-disagrees" Warn false "either the source's flag or the range calls the value normal"
        "The hospital may judge by another range than it prints.";
    BMI "bmi" Warn false "body mass index is not weight by height squared"
        "Height, weight or index may stand in a shifted column.";
    DIFFERENTIAL_SUM "differential-sum" Warn false "the shares of white cells don't add up to 98 to 102 %"
        "One of the five may be missing, mistyped or in a shifted column.";
    DIFFERENTIAL_COUNT "differential-count" Warn false "a count of white cells is not its share of all"
        "Count, share or the count of all may stand in a shifted column.";
    PROTEIN_SUM "protein-sum" Warn false "total protein is not albumin and globulin together"
        "One of the three may stand in a shifted column.";
    ALBUMIN_GLOBULIN "albumin-globulin" Warn false "the ratio of albumin to globulin is not theirs"
        "One of the three may stand in a shifted column.";
    BILIRUBIN_SUM "bilirubin-sum" Warn false "total bilirubin is not direct and indirect together"
        "One of the three may stand in a shifted column.";
    MCHC "mchc" Warn false "the concentration of haemoglobin in cells is not haemoglobin by haematocrit"
        "One of the three may stand in a shifted column, or have another unit.";
    HEMATOCRIT "hematocrit" Warn false "haematocrit is not red cells by their volume"
        "One of the three may stand in a shifted column, or have another unit.";
    CHOLESTEROL_SUM "cholesterol-sum" Warn false "HDL and LDL together are more than the whole cholesterol"
        "One of the three may stand in a shifted column, or have another unit.";
    PRESSURE_ORDER "pressure-order" Warn false "systolic pressure is not above diastolic"
        "The two columns may be swapped.";
    GROUP_MISSING "group-missing" Hold false "an ordered group has no results and no reason for it"
        "The results may not have arrived yet, or the view hides them.";
    REPORT_EMPTY "report-empty" Hold false "a final report says nothing"
        "It may have been read while the source was writing it anew, or the child queries may have failed to find the rows.";
    GROUP_UNORDERED "group-unordered" Warn false "a group has results and was not ordered"
        "The order may have been changed on site.";
    PARTS_DISAGREE "parts-disagree" Hold false "two streams give different content for the same group"
        "Only one system may be the source of a group's results.";
    ANOTHER_PERSON "another-person" Hold true "a report turns into another person's"
        "Exam numbers are used again: name the day in [key]. Release it where the hospital has corrected the person.";
    ANOTHER_VISIT "another-visit" Hold true "a report turns into that of another visit"
        "Exam numbers are used again: name the day in [key]. Release it where the hospital has corrected the date; [mapping] same_visit_days says what is far apart.";
    RESULT_VANISHED "result-vanished" Hold true "a delivered report no longer has some of its results"
        "It may have been read while the source wrote it anew. It follows by itself once a second read agrees; or release it.";
    OLDER_REVISION "older-revision" Hold true "a version comes that the source says is older than the one before"
        "It was overtaken on its way: dismiss it. Where the source counts anew, correct `revision` in [mapping], then have the record read again.";
    PRICE_JUMP "price-jump" Hold true "a price changes by a large factor"
        "Yuan and fen, or two columns, may be confused. The stream's `guards` say what is large.";
    MEMBERS_DROPPED "members-dropped" Hold true "a package or group loses many of its members at once"
        "The child query may have failed to find them. The stream's `guards` say what is many.";
    SEX_CHANGED "sex-changed" Hold true "what is meant for one sex is suddenly meant for another"
        "The code table of the sex, or the column, may have changed. Release it where the hospital means it.";
    MASS_DISABLED "mass-disabled" Hold true "a large share of a catalogue is turned off or taken back at once"
        "An off switch may be read wrongly. The stream's `guards` say what is large.";
    UNIT_CHANGED "unit-changed" Hold true "an item that is known has another unit"
        "Old and new results can't be compared. Ask the laboratory, then release it.";
    GROUP_UNKNOWN "group-unknown" Hold false "a package names a group that no dictionary has"
        "It follows by itself when the dictionary arrives. See whether the stream of groups is read and complete.";
    GROUP_OFF "group-off" Hold false "a package is enabled and one of its groups is not"
        "One of the two is out of date. It follows by itself when the group is enabled again.";
    MEMBER_UNKNOWN "member-unknown" Hold false "a group has an item that no dictionary has"
        "It follows by itself when the dictionary of items has it. See whether the stream of items is read and complete.";
    ORDER_UNKNOWN "order-unknown" Hold false "a report names a group that the dictionary does not have"
        "It follows by itself when the dictionary has it. Codes of another system's dictionary: [mapping] dictionary.";
    PACKAGE_SEX "package-sex" Hold false "a person's package is for the other sex"
        "The person, the sex or the booking may be another's; or the package's sex is wrong in its dictionary.";
    ITEM_UNKNOWN "item-unknown" Hold false "a result's item is not in the dictionary"
        "It follows by itself when the dictionary has it. Codes of another system's dictionary: [mapping] dictionary.";
    ITEM_UNLISTED "item-unlisted" Warn false "a result's item is none of its group's by the dictionary"
        "The row may stand under another group, or the dictionary's list of members is out of date.";
    PANEL_INCOMPLETE "panel-incomplete" Hold false "a group lacks one of its items by the dictionary"
        "The results may not all be there yet, or a join loses rows. Weigh it `warn` where items of a group are optional.";
    UNIT_DIFFERS "unit-differs" Hold false "a result's unit is not the dictionary's"
        "Value or unit may have changed in the source; two spellings that are not certain to be one unit are only told.";
    UNIT_MISSING "unit-missing" Warn false "a number has no unit, and the dictionary has one for it"
        "See which column the unit stands in. It is never filled in.";
    KIND_DIFFERS "kind-differs" Warn false "a result is no number, and the dictionary says that it is one"
        "The value may stand in a shifted column, or be a word that means absence.";
    NAME_OF_ANOTHER "name-of-another" Hold false "a result has the name of another item of its group"
        "Codes and names, or values, may have moved by a row. Compare them with the source before anything else.";
    WAITING_FOR_PARTS "waiting-for-parts" Hold true "the parts of a report have not all come yet"
        "Nobody is called before `wait_hours` are over. It goes by itself when they have come; `hisync held show` names them.";
    ATTACHMENT_EMPTY "attachment-empty" Hold false "a file has no bytes"
        "The source may write the row before the file. It goes by itself when the record is read again with the file.";
    ATTACHMENT_MISSING "attachment-missing" Hold false "a file that the record names is not there"
        "See whether the file is where the source says, and whether the agent may read it; then have the record read again.";
    ATTACHMENT_ENCODING "attachment-encoding" Hold false "the text of a file is no base64"
        "The column may be cut off, or hold a path: then map `source_ref` and read the file.";
    ATTACHMENT_TOO_LARGE "attachment-too-large" Hold false "a file is larger than allowed"
        "Raise `attachment_max_bytes` in [mapping], where upstream takes files of that size.";
    ATTACHMENT_UNKNOWN "attachment-unknown-type" Hold false "what a file is can't be told by its bytes"
        "Look at its first bytes. Map `media_type` where the source knows better.";
    ATTACHMENT_ERROR_PAGE "attachment-error-page" Hold false "a file is a web page instead of a document"
        "The source's server answered with an error page or a login. It goes by itself when the record is read again with the file.";
    ATTACHMENT_TRUNCATED "attachment-truncated" Hold false "a file has no end"
        "It was cut off, or read while it was written. It goes by itself when the record is read again with the whole file.";
    ATTACHMENT_ENCRYPTED "attachment-encrypted" Hold false "a PDF asks for a password"
        "Upstream could not show it. Ask the hospital to print it without one.";
    ATTACHMENT_TYPE "attachment-type-differs" Warn false "a file is another kind of file than the source says"
        "It is delivered as what its bytes are. See which column `media_type` reads.";
    ATTACHMENT_NUMBER "attachment-other-number" Hold false "a PDF shows another exam number"
        "It may be another person's report. Compare it with the record before anything else.";
    ATTACHMENT_TEXT "attachment-text-unreadable" Warn false "the text of a PDF can't be read"
        "Whether it shows another exam number could not be checked. Open it once by hand.";
    ATTACHMENT_SHARED "attachment-shared" Hold false "the same file belongs to two people's reports"
        "One of them has a wrong file. Correct it in the source, or release the item. A weight below `hold` switches the check off.";
    PART_HEADER "part-header" Hold true "no part of the entity could be read"
        "A fault of hisync, or a part was written by another version.";
}

/// All rules, in the order of the documents.
pub fn all() -> &'static [&'static Rule] {
    ALL
}

/// What hisync knows items to be: its own word for each, and the name in Chinese.
pub fn concepts() -> impl Iterator<Item = (&'static str, &'static str)> {
    concepts::all().iter().map(|concept| (concept.word, concept.name))
}

/// The rule of that code.
pub fn find(code: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.code == code)
}

/// What a mapping says about the rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// The rules that weigh something else than usual.
    pub(super) changed: Vec<(&'static str, Severity)>,
    /// How long the source's columns of text are, in characters or bytes; `None` where nobody said.
    pub(super) text_limits: Option<Vec<usize>>,
}

impl Weights {
    /// Every rule at its usual weight.
    pub(super) const fn usual() -> Weights {
        Weights { changed: Vec::new(), text_limits: None }
    }

    pub(super) fn of(&self, rule: &Rule) -> Severity {
        self.changed.iter().find(|(code, _)| *code == rule.code).map_or(rule.severity, |(_, severity)| *severity)
    }
}

/// Where rules put their findings.
#[derive(Debug)]
pub(super) struct Findings<'w> {
    pub(super) weights: &'w Weights,
    pub(super) list: Vec<Finding>,
}

impl<'w> Findings<'w> {
    pub(super) fn new(weights: &'w Weights) -> Findings<'w> {
        Findings { weights, list: Vec::new() }
    }

    pub(super) fn add(&mut self, rule: &Rule, path: impl Into<String>, message: impl Into<String>) {
        self.list.push(Finding::new(rule.code, self.weights.of(rule), path, message));
    }

    pub(super) fn add_value(&mut self, rule: &Rule, path: impl Into<String>, message: impl Into<String>, value: &str) {
        self.list.push(Finding::new(rule.code, self.weights.of(rule), path, message).value(value));
    }
}

/// Fills what hisync derives, then holds the entity to the rules of its type.
pub(super) fn settle(entity: &mut Entity, findings: &mut Findings<'_>) {
    match entity {
        Entity::ExamItem(item) => dictionary::item(item, findings),
        Entity::ExamItemGroup(group) => dictionary::group(group, findings),
        Entity::ExamPackage(package) => package::settle(package, findings),
        Entity::ExamReport(report) => report::settle(report, findings),
        Entity::CriticalValue(_) => {}
    }
}

/// The index of each element whose key an earlier element has.
pub(super) fn repeated<'a, K: Eq + std::hash::Hash + 'a>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    /// So few are told apart faster by comparing each with each.
    const FEW: usize = 12;
    let keys: Vec<K> = keys.collect();
    if keys.len() <= FEW {
        return (0..keys.len()).filter(|at| keys[..*at].contains(&keys[*at])).collect();
    }
    let mut seen = HashSet::with_capacity_and_hasher(keys.len(), RandomState::default());
    keys.iter().enumerate().filter_map(|(at, key)| (!seen.insert(key)).then_some(at)).collect()
}
