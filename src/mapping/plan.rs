//! A compiled mapping: what [`super::apply`] follows for each record.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::node::Node;
use super::readers::date::Grammar;
use super::readers::number::Scale;
use super::rules::Weights;
use super::shape::Kind;
use super::source::SourcePath;
use crate::model::Assembly;

/// A table of the configuration or of the program itself, looked up for each value. Nobody outside chooses its keys, so
/// it needs no hash that withstands chosen ones.
pub(super) type Lookup<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

#[derive(Debug)]
pub(super) struct Plan {
    /// The list that holds the entities; the document itself where absent.
    pub(super) each: Option<SourcePath>,
    pub(super) key: Vec<Vec<Alternative>>,
    pub(super) scope: Option<String>,
    pub(super) hospital: Option<SourcePath>,
    pub(super) campus: Option<SourcePath>,
    pub(super) absent: Vec<(Condition, String)>,
    /// By what the source orders the versions of an entity.
    pub(super) revision: Option<SourcePath>,
    /// Whether a column that a document lacks is as good as null.
    pub(super) missing_is_null: bool,
    pub(super) weights: Weights,
    /// The source whose dictionary its codes are of; its own where absent.
    pub(super) dictionary: Option<String>,
    /// How many days two versions of a report may lie apart.
    pub(super) same_visit_days: Option<u32>,
    /// The largest file that is taken.
    pub(super) attachment_max_bytes: usize,
    /// Whether critical values are told at once.
    pub(super) raises_critical: bool,
    /// How the entity joins other parts, where it is only one.
    pub(super) assembly: Option<Assembly>,
    pub(super) fields: ObjectPlan,
}

#[derive(Debug)]
pub(super) struct ObjectPlan {
    /// The type's name in the model.
    pub(super) shape: &'static str,
    pub(super) fields: Vec<FieldPlan>,
}

#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) name: &'static str,
    /// The field that keeps the literal, where no line of the file fills it.
    pub(super) raw: Option<&'static str>,
    pub(super) required: bool,
    pub(super) read: Read,
}

#[derive(Debug)]
pub(super) enum Read {
    Object(ObjectPlan),
    List(Box<ListPlan>),
    Texts(Vec<Alternative>),
    Scalar(&'static Kind, Vec<Alternative>),
    Enabled(Vec<Switch>, bool),
    Composite(Composite, Vec<Alternative>),
}

/// The fields that one line of a mapping fills together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Composite {
    Value,
    Unit,
    Reference,
    /// Of a dictionary's item: a list of ranges.
    References,
    Flag,
    Critical,
    /// The bytes of an attachment.
    Content,
}

#[derive(Debug)]
pub(super) struct ListPlan {
    pub(super) each: SourcePath,
    /// The columns of a wide table that are one row each.
    pub(super) pivot: Vec<PivotLine>,
    pub(super) when: Option<Condition>,
    pub(super) excluded: String,
    pub(super) group_by: Vec<SourcePath>,
    /// Whether a record may lack the list altogether.
    pub(super) optional: bool,
    pub(super) object: ObjectPlan,
    /// Whether its rows are counted in the manifest: the rows of the innermost lists are.
    pub(super) leaf: bool,
}

/// One column of a wide table, as its dictionary describes it.
#[derive(Debug)]
pub(super) struct PivotLine {
    pub(super) column: String,
    /// The dictionary's columns and what stands in them; an empty cell is null.
    pub(super) cells: Vec<(String, connector_api::Value)>,
}

impl PivotLine {
    /// What stands under a column of the dictionary.
    pub(super) fn cell(&self, name: &str) -> Option<&connector_api::Value> {
        self.cells.iter().find(|(column, _)| column == name).map(|(_, cell)| cell)
    }
}

/// One way to get a value. The first one whose condition holds and that finds something is taken.
#[derive(Debug)]
pub(super) struct Alternative {
    pub(super) source: Source,
    pub(super) when: Option<Condition>,
    pub(super) none: Vec<String>,
    /// The days among `none`, for dates: a day means none however the source writes it.
    pub(super) none_days: Vec<NaiveDate>,
    pub(super) optional: bool,
    pub(super) codes: Option<Arc<CodeTable>>,
    pub(super) grammars: Vec<Grammar>,
    pub(super) zone: Option<Tz>,
    /// The column with the time of day, where date and time stand apart.
    pub(super) time: Option<SourcePath>,
    pub(super) scale: Option<Scale>,
    /// Words of a result that mean absence, beside the built-in ones.
    pub(super) absent: Lookup<String, String>,
    /// What an empty flag means.
    pub(super) empty: Option<String>,
    pub(super) split: Vec<String>,
    /// The column that names files of a bundle.
    pub(super) named: Option<SourcePath>,
    /// Taken where the source has nothing.
    pub(super) default: Option<Node<'static>>,
}

#[derive(Debug)]
pub(super) enum Source {
    From(Vec<SourcePath>),
    Bounds(SourcePath, SourcePath),
    Const(Node<'static>),
    Expr(Expression),
    /// Only a default.
    Nothing,
}

/// One off switch of the source.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) from: SourcePath,
    pub(super) off: Vec<String>,
    /// The values that mean "on"; where none are listed, all others do.
    pub(super) on: Vec<String>,
    pub(super) reason: String,
    pub(super) optional: bool,
}

/// When a row, a line or a wish applies.
#[derive(Debug)]
pub(super) enum Condition {
    Expression(Expression),
    /// Whether a value is (or is not) one of some words; null and empty are the empty word.
    Words {
        from: SourcePath,
        words: Vec<String>,
        inside: bool,
    },
}

/// A minijinja expression with what it needs from the record.
pub(super) struct Expression {
    pub(super) compiled: minijinja::Expression<'static, 'static>,
    pub(super) needs: Vec<Need>,
}

/// A name that an expression uses.
#[derive(Debug)]
pub(super) enum Need {
    /// `row.NAME` or `root.NAME` (also `up`), which must exist.
    Member(&'static str, SourcePath),
    /// A name bound by `with`.
    Bound(String, SourcePath),
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").field("needs", &self.needs).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct CodeTable {
    pub(super) name: String,
    /// The CSV file that holds it; `None` where all its codes stand in the mapping.
    pub(super) file: Option<std::path::PathBuf>,
    pub(super) codes: Lookup<String, String>,
    /// Whether an unknown code leaves the field empty and is only told.
    pub(super) flag: bool,
}
