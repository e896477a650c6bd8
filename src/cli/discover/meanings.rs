//! What the names of columns usually mean: Chinese names, pinyin initials, English.
//!
//! One line a field of the model. A name that stands in several lines is ambiguous, and its values
//! must settle it; where they don't, nothing is suggested but a comment.

/// Where in the model a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Examinee,
    Visit,
    Report,
    Group,
    Item,
    Conclusion,
    Package,
    PackageItem,
    DictionaryItem,
    DictionaryGroup,
    /// No field: what tells that a row changed.
    Change,
}

/// What values of a field look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A person's name.
    Person,
    CitizenId,
    Phone,
    /// A number or code that identifies something.
    Code,
    Text,
    Date,
    Time,
    /// Local codes that need this code table.
    Codes(&'static str),
    Age,
    Result,
    Unit,
    Range,
    /// One end of a range.
    Bound,
    Flag,
    Money,
    /// An off switch.
    Switch,
    /// A small whole number.
    Count,
}

/// A field that columns are named for.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) level: Level,
    pub(super) field: &'static str,
    pub(super) shape: Shape,
    /// Whether its values are about a person.
    pub(super) personal: bool,
    names: &'static str,
}

macro_rules! meanings {
    ($($level:ident $field:literal $shape:expr, $open:ident $names:literal;)*) => {
        static ALL: &[Meaning] = &[$(Meaning {
            level: Level::$level,
            field: $field,
            shape: $shape,
            personal: is_personal(stringify!($open)),
            names: $names,
        }),*];
    };
}

const fn is_personal(word: &str) -> bool {
    word.len() == "personal".len()
}

meanings! {
    Examinee "examinee_key" Shape::Code, personal
        "DAH DABH DAHM GRBH BRID BRH KH PATIENT_ID PATIENTID PID ARCHIVE_NO 档案号 档案编号 病人ID 个人编号";
    Examinee "name" Shape::Person, personal "XM BRXM TJRXM NAME PATIENT_NAME PATNAME FULL_NAME 姓名 体检人姓名 患者姓名";
    Examinee "sex" Shape::Codes("sex"), open "XB XBDM SEX GENDER 性别 性别代码";
    Examinee "birth_date" Shape::Date, personal "CSRQ SR BIRTHDAY BIRTH_DATE BIRTHDATE DOB 出生日期 生日";
    Examinee "id_number" Shape::CitizenId, personal
        "SFZH SFZHM SFZ ZJHM ZJH IDCARD ID_CARD ID_NO IDNO ID_NUMBER CARD_ID 身份证号 身份证号码 身份证 证件号码 证件号";
    Examinee "phone" Shape::Phone, personal
        "SJH SJHM LXDH DH DHHM YDDH PHONE MOBILE TEL PHONE_NO 手机号 手机号码 联系电话 电话";
    Examinee "marital_status" Shape::Codes("marital"), open "HYZK HYZT HF MARITAL MARRIAGE MARITAL_STATUS 婚姻状况 婚姻 婚否";
    Visit "exam_no" Shape::Code, personal
        "TJBH TJH TJLSH TJHM EXAM_NO EXAMNO EXAM_ID TJ_NO TJ_ID 体检号 体检编号 体检流水号";
    Visit "registered_at" Shape::Time, open "DJSJ DJRQ REGISTER_TIME REGISTERED_AT REG_TIME REG_DATE 登记时间 登记日期";
    Visit "exam_date" Shape::Date, open "TJRQ TJSJ EXAM_DATE EXAM_TIME CHECK_DATE 体检日期 体检时间";
    Visit "stated_age" Shape::Age, open "NL AGE 年龄";
    Visit "org_code" Shape::Code, open "DWBH DWBM DWDM ORG_CODE COMPANY_CODE 单位编码 单位编号";
    Visit "org_name" Shape::Text, open "DWMC GZDW ORG_NAME COMPANY COMPANY_NAME 单位名称 工作单位";
    Visit "order_no" Shape::Code, personal "DDH DDBH ORDER_NO 订单号 预约号";
    Visit "package_code" Shape::Code, open "TCBM TCDM TCBH PACKAGE_CODE PACKAGE_ID 套餐编码 套餐代码 套餐编号";
    Visit "previous_exam_no" Shape::Code, personal "YTJH YTJBH SCTJH SCTJBH PREVIOUS_EXAM_NO 原体检号 上次体检号";
    Report "report_no" Shape::Code, personal "BGBH BGH BGDH REPORT_NO REPORTNO REPORT_ID 报告号 报告编号 报告单号";
    Report "status" Shape::Codes("state"), open "BGZT TJZT REPORT_STATUS REPORT_STATE STATUS STATE 报告状态 体检状态 状态";
    Report "issued_at" Shape::Time, open "BGSJ BGRQ FBSJ FBRQ ZJRQ ZJSJ REPORT_TIME REPORT_DATE ISSUE_TIME ISSUED_AT 报告时间 报告日期 总检日期 总检时间";
    Report "concluded_by" Shape::Text, personal "ZJYS ZJYSXM ZJR CHIEF_DOCTOR 总检医生 总检人";
    Report "reviewed_by" Shape::Text, personal "SHYS SHR SHRXM REVIEWER REVIEWED_BY 审核医生 审核人";
    Group "group_code" Shape::Code, open "ZHBM ZHDM ZHBH ZHXMDM ZHXMBM ZHXMBH GROUP_CODE GROUP_ID COMB_CODE 组合编码 组合代码 组合编号 组合项目代码";
    Group "group_name" Shape::Text, open "ZHMC ZHXMMC GROUP_NAME COMB_NAME 组合名称 组合项目名称";
    Group "department" Shape::Text, open "KSMC KS JCKS DEPT DEPT_NAME DEPARTMENT 科室 科室名称 检查科室";
    Group "summary" Shape::Text, personal "XJ KSXJ JCXJ SUMMARY GROUP_SUMMARY 小结 科室小结";
    Group "performer" Shape::Text, personal "JCYS JCR JYR CZY PERFORMER EXAM_DOCTOR 检查医生 检查人 检验人";
    Group "performed_at" Shape::Time, open "JCSJ JCRQ JYSJ JYRQ PERFORMED_AT CHECK_TIME 检查时间 检查日期 检验时间";
    Item "item_code" Shape::Code, open "XMDM XMBM XMBH MXDM MXBM MXXMDM ITEM_CODE ITEM_ID ITEMCODE 项目代码 项目编码 项目编号 明细代码";
    Item "item_name" Shape::Text, open "XMMC MXMC MXXMMC ITEM_NAME ITEMNAME 项目名称 明细名称";
    Item "value" Shape::Result, open "JG XMJG JCJG JYJG JGZ RESULT RESULT_VALUE ITEM_RESULT VALUE 结果 检查结果 检验结果 结果值";
    Item "unit" Shape::Unit, open "DW JLDW XMDW UNIT UNITS RESULT_UNIT 单位 计量单位";
    Item "reference" Shape::Range, open "CKFW CKZ CKQJ ZCFW REF_RANGE REFERENCE REFERENCE_RANGE REF 参考范围 参考值 正常范围";
    Item "reference_low" Shape::Bound, open "CKXX XX CKDZ CKFWXX REF_LOW LOW_LIMIT LOWER 参考下限 下限";
    Item "reference_high" Shape::Bound, open "CKSX SX CKGZ CKFWSX REF_HIGH HIGH_LIMIT UPPER 参考上限 上限";
    Item "flag" Shape::Flag, open "TS JGTS YCTS YCBZ YCBS GDBZ FLAG ABNORMAL ABNORMAL_FLAG 提示 结果提示 异常标志 高低标志";
    Item "specimen_no" Shape::Code, personal "BBH TMH YBH BARCODE SPECIMEN_NO SAMPLE_NO 标本号 条码号 样本号";
    Item "method" Shape::Text, open "FF JYFF METHOD 检验方法 方法";
    Item "device" Shape::Text, open "YQ YQMC DEVICE INSTRUMENT 仪器 仪器名称";
    Conclusion "text" Shape::Text, personal "ZJJL JL ZJZS CONCLUSION 总检结论 结论 综述";
    Conclusion "advice" Shape::Text, personal "JY ZJJY JKJY ADVICE SUGGESTION 建议 总检建议 健康建议";
    Package "package_code" Shape::Code, open "TCBM TCDM TCBH PACKAGE_CODE PACKAGE_ID 套餐编码 套餐代码 套餐编号";
    Package "name" Shape::Text, open "TCMC PACKAGE_NAME NAME 套餐名称 名称";
    Package "applicable_sex" Shape::Codes("sex"), open "XB SYXB SEX GENDER 性别 适用性别";
    Package "original_price_minor" Shape::Money, open "YJ BZJG TCYJ ORIGINAL_PRICE LIST_PRICE PRICE 原价 标准价格";
    Package "sale_price_minor" Shape::Money, open "ZHJ ZKJ SSJ XSJG TCJG SALE_PRICE 折后价 折扣价 售价 实收价";
    Package "age_low" Shape::Age, open "NLXX ZXNL AGE_LOW MIN_AGE 年龄下限 最小年龄";
    Package "age_high" Shape::Age, open "NLSX ZDNL AGE_HIGH MAX_AGE 年龄上限 最大年龄";
    Package "valid_from" Shape::Date, open "QYRQ KSRQ SXRQ VALID_FROM START_DATE 启用日期 开始日期";
    Package "valid_to" Shape::Date, open "ZZRQ JSRQ YXQZ VALID_TO END_DATE 终止日期 结束日期";
    Package "enabled" Shape::Switch, open "TYBZ SCBZ JYBZ ZFBZ QYBZ YXBZ STOPPED DELETED DISABLED ENABLED IS_VALID 停用标志 删除标志 禁用标志 作废标志 有效标志";
    PackageItem "group_code" Shape::Code, open "ZHBM ZHDM ZHBH ZHXMDM ZHXMBM ZHXMBH GROUP_CODE GROUP_ID COMB_CODE 组合编码 组合代码 组合编号 组合项目代码";
    PackageItem "group_name" Shape::Text, open "ZHMC ZHXMMC GROUP_NAME COMB_NAME 组合名称 组合项目名称";
    PackageItem "role" Shape::Codes("role"), open "SFBX BXBZ LB XMLB ROLE REQUIRED 是否必选 必选标志";
    PackageItem "price_minor" Shape::Money, open "DJ XMDJ PRICE UNIT_PRICE 单价";
    PackageItem "order" Shape::Count, open "PX XH SXH XSSX SORT SORT_NO SEQ ORDER_BY 排序 序号 顺序号";
    DictionaryItem "item_code" Shape::Code, open "XMDM XMBM XMBH MXDM MXBM ITEM_CODE ITEM_ID CODE 项目代码 项目编码 明细代码 代码 编码";
    DictionaryItem "item_name" Shape::Text, open "XMMC MXMC ITEM_NAME NAME 项目名称 明细名称 名称";
    DictionaryItem "unit" Shape::Unit, open "DW JLDW UNIT 单位 计量单位";
    DictionaryItem "reference" Shape::Range, open "CKFW CKZ REF_RANGE REFERENCE 参考范围 参考值";
    DictionaryItem "value_type" Shape::Codes("value_type"), open "JGLX SJLX VALUE_TYPE RESULT_TYPE 结果类型 数据类型";
    DictionaryItem "applicable_sex" Shape::Codes("sex"), open "XB SYXB SEX 性别 适用性别";
    DictionaryItem "enabled" Shape::Switch, open "TYBZ SCBZ JYBZ ZFBZ QYBZ YXBZ STOPPED DELETED DISABLED ENABLED 停用标志 删除标志 有效标志";
    DictionaryGroup "group_code" Shape::Code, open "ZHBM ZHDM ZHBH GROUP_CODE GROUP_ID CODE 组合编码 组合代码 代码 编码";
    DictionaryGroup "group_name" Shape::Text, open "ZHMC GROUP_NAME NAME 组合名称 名称";
    DictionaryGroup "department" Shape::Text, open "KSMC KS DEPT DEPARTMENT 科室 科室名称";
    DictionaryGroup "enabled" Shape::Switch, open "TYBZ SCBZ JYBZ ZFBZ QYBZ YXBZ STOPPED DELETED DISABLED ENABLED 停用标志 删除标志 有效标志";
    Change "watermark" Shape::Time, open "GXSJ XGSJ GXRQ ZHXGSJ UPDATE_TIME UPDATED_AT LAST_MODIFIED MODIFY_TIME LAST_UPDATE 更新时间 修改时间 最后修改时间";
}

/// How surely a name means a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The whole name.
    Exactly,
    /// A part of it: `TJ_BRXM`.
    InPart,
}

/// What a column's name may mean; whole names alone where there are any.
pub(super) fn of(column: &str) -> Vec<(&'static Meaning, Named)> {
    let folded = column.trim().to_uppercase();
    let named = |meaning: &Meaning, word: &str| meaning.names.split(' ').any(|name| name == word);
    let exact: Vec<_> =
        ALL.iter().filter(|meaning| named(meaning, &folded)).map(|meaning| (meaning, Named::Exactly)).collect();
    if !exact.is_empty() {
        return exact;
    }
    // The parts of a name that somebody put together: `TJ_XM`, `F_SFZH`.
    let parts: Vec<&str> = folded.split(['_', '-', ' ', '.']).collect();
    if parts.len() < 2 {
        return Vec::new();
    }
    let part = |meaning: &&Meaning| parts.iter().any(|part| part.chars().count() > 1 && named(meaning, part));
    ALL.iter().filter(part).map(|meaning| (meaning, Named::InPart)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_three_habits_mean_the_same_and_an_unknown_one_means_nothing() {
        for name in ["SFZH", "id_card", "身份证号"] {
            let found = of(name);
            assert!(found.iter().all(|(meaning, named)| {
                (meaning.field, *named, meaning.personal) == ("id_number", Named::Exactly, true)
            }));
            assert_eq!(found.len(), 1, "{name}");
        }
        assert!(of("QWERTY").is_empty());
        assert_eq!(
            of("TJ_BRXM").first().map(|(meaning, named)| (meaning.field, *named)),
            Some(("name", Named::InPart))
        );
    }

    #[test]
    fn a_name_with_two_meanings_gives_both() {
        let fields: Vec<&str> = of("TCBM").iter().map(|(meaning, _)| meaning.field).collect();
        assert_eq!(fields, ["package_code", "package_code"]);
    }
}
