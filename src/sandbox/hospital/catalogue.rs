//! What the simulated hospital sells: detail items, group items and packages.
//!
//! Codes, names and prices are invented; units, ranges and spellings are those that one meets. The
//! spelling of units and ranges differs from item to item on purpose.

use super::people::Sex;

/// For whom an item, a group or a package is meant: `0` everybody, `1` men, `2` women.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Everybody.
    All,
    /// Men.
    Men,
    /// Women.
    Women,
}

impl For {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            For::All => "0",
            For::Men => "1",
            For::Women => "2",
        }
    }

    /// Whether a person of this sex may have it.
    pub fn fits(self, sex: Sex) -> bool {
        match self {
            For::All => true,
            For::Men => sex == Sex::Male,
            For::Women => sex == Sex::Female,
        }
    }
}

/// What is usual for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// Low, high, and what stands between them in print.
    Between(&'static str, &'static str, &'static str),
    /// Men's low and high, then women's; printed with `-`.
    BySex([&'static str; 2], [&'static str; 2]),
    /// Below a bound; the sign as printed, `<` or `＜`.
    Below(&'static str, &'static str),
    /// A word such as 阴性.
    Word(&'static str),
    /// Nothing stated.
    Unstated,
}

impl Usual {
    /// The range as printed beside a result of a person of this sex; empty where nothing is stated.
    pub fn printed(self, sex: Sex) -> String {
        match self {
            Usual::Between(low, high, between) => format!("{low}{between}{high}"),
            Usual::BySex(men, women) => {
                let [low, high] = if sex == Sex::Male { men } else { women };
                format!("{low}-{high}")
            }
            Usual::Below(sign, bound) => format!("{sign}{bound}"),
            Usual::Word(word) => word.to_owned(),
            Usual::Unstated => String::new(),
        }
    }

    /// The bounds for a person of this sex, where the range has two.
    pub fn bounds(self, sex: Sex) -> Option<(&'static str, &'static str)> {
        match self {
            Usual::Between(low, high, _) => Some((low, high)),
            Usual::BySex(men, women) => {
                let [low, high] = if sex == Sex::Male { men } else { women };
                Some((low, high))
            }
            _ => None,
        }
    }
}

/// What kind of result a detail item has, by the PEIS's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `1`, a number with so many decimals.
    Number(u32),
    /// `2`, a place on a scale: `-`, `±`, `1+`.
    Scale,
    /// `3`, a fixed word, or a titre.
    Word,
    /// `4`, prose.
    Prose,
}

impl Kind {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Number(_) => "1",
            Kind::Scale => "2",
            Kind::Word => "3",
            Kind::Prose => "4",
        }
    }
}

/// A detail item 明细项目.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its code in the PEIS, with leading zeros.
    pub code: &'static str,
    /// Its code in the laboratory system, and the name by which the generator knows it.
    pub short: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What kind of result it has.
    pub kind: Kind,
    /// The unit as the PEIS spells it.
    pub unit: &'static str,
    /// What is usual.
    pub usual: Usual,
}

/// A group item 组合项目.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its code, with leading zeros.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The department.
    pub department: &'static str,
    /// The specimen; only laboratory groups have one.
    pub specimen: Option<&'static str>,
    /// For whom.
    pub applies: For,
    /// The price in yuan, as text.
    pub price: &'static str,
    /// Whether one must come without having eaten.
    pub fasting: bool,
    /// The detail items, in print order.
    pub items: &'static [Item],
}

/// How a group item belongs to a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `1`, in any case.
    Mandatory,
    /// `2`, one of those to be chosen from.
    Choice,
    /// `3`, may be added at its price.
    AddOn,
}

impl Role {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            Role::Mandatory => "1",
            Role::Choice => "2",
            Role::AddOn => "3",
        }
    }
}

/// A package 套餐.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its code.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it is for, in the PEIS's words.
    pub kind: &'static str,
    /// For whom.
    pub applies: For,
    /// The price that is asked in yuan, as text; the original price is the mandatory groups' sum.
    pub sale_price: &'static str,
    /// The company's code, where only its people may book it.
    pub company: Option<&'static str>,
    /// Ages, as the PEIS writes them.
    pub ages: Option<(&'static str, &'static str)>,
    /// The last day on sale, `99991231` for none.
    pub valid_to: &'static str,
    /// Group codes that are done in any case.
    pub mandatory: &'static [&'static str],
    /// Group codes from which one or two are chosen.
    pub choice: &'static [&'static str],
    /// Group codes that may be added.
    pub add_on: &'static [&'static str],
}

impl Package {
    /// The sum of the mandatory groups' prices in fen.
    pub fn original_price_fen(&self) -> i64 {
        self.mandatory.iter().filter_map(|code| group(code)).map(|group| fen(group.price)).sum()
    }

    /// All its groups with their roles, in print order.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, Role)> {
        let with = |role| move |code: &&'static str| (*code, role);
        let mandatory = self.mandatory.iter().map(with(Role::Mandatory));
        mandatory.chain(self.choice.iter().map(with(Role::Choice))).chain(self.add_on.iter().map(with(Role::AddOn)))
    }
}

/// Finds a group by its code.
pub fn group(code: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.code == code)
}

/// Every detail item with the group that it belongs to.
pub fn items() -> impl Iterator<Item = (&'static Group, &'static Item)> {
    GROUPS.iter().flat_map(|group| group.items.iter().map(move |item| (group, item)))
}

/// A price in yuan with two decimals as fen.
fn fen(yuan: &str) -> i64 {
    fixed(yuan, 2)
}

/// A plain decimal as a whole number of its `decimals`-th places: `fixed("3.5", 2)` is 350.
pub(super) fn fixed(text: &str, decimals: u32) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(decimals as usize).collect();
    format!("{whole}{digits}").parse().unwrap_or_default()
}

/// The opposite of [`fixed`]: `printed(350, 2)` is `3.50`.
pub(super) fn printed(value: i64, decimals: u32) -> String {
    if decimals == 0 {
        return value.to_string();
    }
    let scale = 10_i64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (value.abs() / scale, value.abs() % scale);
    format!("{sign}{whole}.{fraction:0width$}", width = decimals as usize)
}

const fn number(
    code: &'static str,
    short: &'static str,
    name: &'static str,
    decimals: u32,
    unit: &'static str,
    usual: Usual,
) -> Item {
    Item { code, short, name, kind: Kind::Number(decimals), unit, usual }
}

const fn scale(code: &'static str, short: &'static str, name: &'static str) -> Item {
    Item { code, short, name, kind: Kind::Scale, unit: "", usual: Usual::Word("阴性") }
}

const fn word(code: &'static str, short: &'static str, name: &'static str, usual: &'static str) -> Item {
    Item { code, short, name, kind: Kind::Word, unit: "", usual: Usual::Word(usual) }
}

const fn prose(code: &'static str, short: &'static str, name: &'static str) -> Item {
    Item { code, short, name, kind: Kind::Prose, unit: "", usual: Usual::Unstated }
}

use Usual::{Below, Between, BySex, Unstated};

/// Everything that is sold and ordered, with the detail items inside.
pub const GROUPS: &[Group] = &[
    Group {
        code: "001001",
        name: "一般检查",
        department: "一般检查室",
        specimen: None,
        applies: For::All,
        price: "10.00",
        fasting: false,
        items: &[
            number("00100101", "HT", "身高", 1, "cm", Unstated),
            number("00100102", "WT", "体重", 1, "kg", Unstated),
            number("00100103", "BMI", "体重指数", 1, "kg/㎡", Between("18.5", "23.9", "-")),
            number("00100104", "SBP", "收缩压", 0, "mmHg", Between("90", "139", "-")),
            number("00100105", "DBP", "舒张压", 0, "mmHg", Between("60", "89", "-")),
            number("00100106", "PULSE", "脉搏", 0, "次/分", Between("60", "100", " ~ ")),
        ],
    },
    Group {
        code: "001002",
        name: "内科检查",
        department: "内科",
        specimen: None,
        applies: For::All,
        price: "15.00",
        fasting: false,
        items: &[
            number("00100201", "HR", "心率", 0, "次/分", Between("60", "100", "-")),
            prose("00100202", "RHYTHM", "心律"),
            prose("00100203", "LUNG", "肺部"),
            prose("00100204", "ABDOMEN", "腹部"),
        ],
    },
    Group {
        code: "001003",
        name: "外科检查",
        department: "外科",
        specimen: None,
        applies: For::All,
        price: "15.00",
        fasting: false,
        items: &[
            prose("00100301", "SKIN", "皮肤"),
            prose("00100302", "LYMPH", "浅表淋巴结"),
            prose("00100303", "THYROID", "甲状腺"),
            prose("00100304", "SPINE", "脊柱四肢"),
        ],
    },
    Group {
        code: "001004",
        name: "十二导联心电图",
        department: "心电图室",
        specimen: None,
        applies: For::All,
        price: "30.00",
        fasting: false,
        items: &[prose("00100401", "ECG", "心电图诊断")],
    },
    Group {
        code: "001005",
        name: "腹部彩超(肝胆胰脾肾)",
        department: "超声科",
        specimen: None,
        applies: For::All,
        price: "128.50",
        fasting: true,
        items: &[prose("00100501", "US_FIND", "超声所见"), prose("00100502", "US_DIAG", "超声提示")],
    },
    Group {
        code: "001006",
        name: "胸部正位片",
        department: "放射科",
        specimen: None,
        applies: For::All,
        price: "68.00",
        fasting: false,
        items: &[prose("00100601", "XR_FIND", "影像所见"), prose("00100602", "XR_DIAG", "影像诊断")],
    },
    Group {
        code: "002001",
        name: "血常规",
        department: "检验科",
        specimen: Some("全血"),
        applies: For::All,
        price: "25.00",
        fasting: false,
        items: &[
            number("00200101", "WBC", "白细胞计数", 2, "×10⁹/L", Between("3.50", "9.50", "-")),
            number("00200102", "RBC", "红细胞计数", 2, "×10^12/L", BySex(["4.30", "5.80"], ["3.80", "5.10"])),
            number("00200103", "HGB", "血红蛋白", 0, "g/L", BySex(["130", "175"], ["115", "150"])),
            number("00200104", "HCT", "红细胞压积", 1, "%", BySex(["40.0", "50.0"], ["35.0", "45.0"])),
            number("00200105", "MCV", "平均红细胞体积", 1, "fL", Between("82.0", "100.0", "-")),
            number("00200106", "MCH", "平均红细胞血红蛋白量", 1, "pg", Between("27.0", "34.0", "-")),
            number("00200107", "MCHC", "平均红细胞血红蛋白浓度", 0, "g/L", Between("316", "354", "-")),
            number("00200108", "PLT", "血小板计数", 0, "10^9/L", Between("125", "350", "～")),
            number("00200109", "NEUT%", "中性粒细胞百分比", 1, "%", Between("40.0", "75.0", "-")),
            number("00200110", "LYM%", "淋巴细胞百分比", 1, "%", Between("20.0", "50.0", "-")),
            number("00200111", "MONO%", "单核细胞百分比", 1, "%", Between("3.0", "10.0", "-")),
            number("00200112", "EO%", "嗜酸性粒细胞百分比", 1, "%", Between("0.4", "8.0", "-")),
            number("00200113", "BASO%", "嗜碱性粒细胞百分比", 1, "%", Between("0.0", "1.0", "-")),
            number("00200114", "RDW", "红细胞分布宽度", 1, "%", Between("11.0", "16.0", "-")),
        ],
    },
    Group {
        code: "002002",
        name: "肝功能十项",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "85.60",
        fasting: true,
        items: &[
            number("00200201", "ALT", "丙氨酸氨基转移酶", 0, "U/L", Between("7", "40", " ~ ")),
            number("00200202", "AST", "天门冬氨酸氨基转移酶", 0, "U/L", Between("13", "35", " ~ ")),
            number("00200203", "GGT", "γ-谷氨酰转移酶", 0, "U/L", BySex(["10", "60"], ["7", "45"])),
            number("00200204", "TBIL", "总胆红素", 1, "μmol/L", Between("3.4", "23.0", "-")),
            number("00200205", "DBIL", "直接胆红素", 1, "μmol/L", Between("0.0", "8.0", "-")),
            number("00200206", "IBIL", "间接胆红素", 1, "umol/L", Between("1.7", "17.0", "-")),
            number("00200207", "TP", "总蛋白", 1, "g/L", Between("65.0", "85.0", "-")),
            number("00200208", "ALB", "白蛋白", 1, "g/L", Between("40.0", "55.0", "-")),
            number("00200209", "GLB", "球蛋白", 1, "g/L", Between("20.0", "40.0", "-")),
            number("00200210", "A/G", "白球比", 2, "", Between("1.20", "2.40", "-")),
        ],
    },
    Group {
        code: "002003",
        name: "肾功能三项",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "36.00",
        fasting: true,
        items: &[
            number("00200301", "BUN", "尿素", 2, "mmol/L", Between("2.60", "7.50", "-")),
            number("00200302", "CREA", "肌酐", 0, "μmol/L", BySex(["57", "97"], ["41", "73"])),
            number("00200303", "UA", "尿酸", 0, "μmol/L", BySex(["208", "428"], ["155", "357"])),
        ],
    },
    Group {
        code: "002004",
        name: "空腹血糖",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "8.00",
        fasting: true,
        items: &[number("00200401", "GLU", "空腹葡萄糖", 2, "mmol/L", Between("3.90", "6.10", "～"))],
    },
    Group {
        code: "002005",
        name: "血脂四项",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "48.00",
        fasting: true,
        items: &[
            number("00200501", "TC", "总胆固醇", 2, "mmol／L", Below("＜", "5.20")),
            number("00200502", "TG", "甘油三酯", 2, "mmol/L", Below("<", "1.70")),
            number("00200503", "HDL", "高密度脂蛋白胆固醇", 2, "mmol/L", Between("1.04", "1.90", "-")),
            number("00200504", "LDL", "低密度脂蛋白胆固醇", 2, "mmol/L", Below("<", "3.40")),
        ],
    },
    Group {
        code: "002006",
        name: "尿常规",
        department: "检验科",
        specimen: Some("尿液"),
        applies: For::All,
        price: "15.00",
        fasting: false,
        items: &[
            scale("00200601", "U-PRO", "尿蛋白"),
            scale("00200602", "U-GLU", "尿葡萄糖"),
            scale("00200603", "U-KET", "尿酮体"),
            scale("00200604", "U-BLD", "尿隐血"),
            scale("00200605", "U-LEU", "尿白细胞"),
            scale("00200606", "U-NIT", "亚硝酸盐"),
            number("00200607", "U-PH", "尿酸碱度", 1, "", Between("5.0", "8.0", "-")),
            number("00200608", "U-SG", "尿比重", 3, "", Between("1.003", "1.030", "-")),
        ],
    },
    Group {
        code: "002007",
        name: "乙肝五项定性",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "60.00",
        fasting: false,
        items: &[
            word("00200701", "HBsAg", "乙肝表面抗原", "阴性"),
            word("00200702", "HBsAb", "乙肝表面抗体", "阴性"),
            word("00200703", "HBeAg", "乙肝e抗原", "阴性"),
            word("00200704", "HBeAb", "乙肝e抗体", "阴性"),
            word("00200705", "HBcAb", "乙肝核心抗体", "阴性"),
        ],
    },
    Group {
        code: "002008",
        name: "甲状腺功能三项",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "120.00",
        fasting: false,
        items: &[
            number("00200801", "FT3", "游离三碘甲状腺原氨酸", 2, "pmol/L", Between("3.10", "6.80", "-")),
            number("00200802", "FT4", "游离甲状腺素", 2, "pmol/L", Between("12.00", "22.00", "-")),
            number("00200803", "TSH", "促甲状腺激素", 3, "uIU/ml", Between("0.270", "4.200", "-")),
        ],
    },
    Group {
        code: "002009",
        name: "肿瘤标志物两项",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "96.00",
        fasting: false,
        items: &[
            number("00200901", "AFP", "甲胎蛋白", 2, "ng/mL", Below("<", "7.00")),
            number("00200902", "CEA", "癌胚抗原", 2, "ng/mL", Below("<", "5.00")),
        ],
    },
    Group {
        code: "002010",
        name: "总前列腺特异性抗原",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::Men,
        price: "65.00",
        fasting: false,
        items: &[number("00201001", "TPSA", "总前列腺特异性抗原", 3, "ng/mL", Below("<", "4.000"))],
    },
    Group {
        code: "002011",
        name: "肺炎支原体抗体",
        department: "检验科",
        specimen: Some("血清"),
        applies: For::All,
        price: "42.00",
        fasting: false,
        items: &[word("00201101", "MP-Ab", "肺炎支原体抗体滴度", "<1:80")],
    },
    Group {
        code: "003001",
        name: "妇科检查",
        department: "妇科",
        specimen: None,
        applies: For::Women,
        price: "35.00",
        fasting: false,
        items: &[
            prose("00300101", "VULVA", "外阴"),
            prose("00300102", "CERVIX", "宫颈"),
            prose("00300103", "ADNEXA", "附件"),
        ],
    },
];

/// What may be booked.
pub const PACKAGES: &[Package] = &[
    Package {
        code: "TC001",
        name: "入职体检套餐",
        kind: "入职体检",
        applies: For::All,
        sale_price: "168.00",
        company: None,
        ages: None,
        valid_to: "99991231",
        mandatory: &["001001", "001002", "001003", "001004", "001006", "002001", "002006"],
        choice: &[],
        add_on: &["002007"],
    },
    Package {
        code: "TC002",
        name: "男士健康体检套餐",
        kind: "健康体检",
        applies: For::Men,
        sale_price: "498.80",
        company: None,
        ages: Some(("18岁", "100岁")),
        valid_to: "20271231",
        mandatory: &[
            "001001", "001002", "001003", "001004", "001005", "001006", "002001", "002002", "002003", "002004",
            "002005", "002006", "002010",
        ],
        choice: &[],
        add_on: &["002008", "002009"],
    },
    Package {
        code: "TC003",
        name: "女士健康体检套餐",
        kind: "健康体检",
        applies: For::Women,
        sale_price: "468.80",
        company: None,
        ages: Some(("18岁", "100岁")),
        valid_to: "20271231",
        mandatory: &[
            "001001", "001002", "001003", "001004", "001005", "001006", "002001", "002002", "002003", "002004",
            "002005", "002006", "003001",
        ],
        choice: &[],
        add_on: &["002008", "002009"],
    },
    Package {
        code: "TC004",
        name: "全面体检(任选一至两项)",
        kind: "健康体检",
        applies: For::All,
        sale_price: "520.00",
        company: None,
        ages: None,
        valid_to: "99991231",
        mandatory: &[
            "001001", "001002", "001003", "001004", "001005", "001006", "002001", "002002", "002003", "002004",
            "002005", "002006", "002007",
        ],
        choice: &["002008", "002009", "002011"],
        add_on: &[],
    },
    Package {
        code: "TC005",
        name: "示例软件有限公司员工年度体检",
        kind: "健康体检",
        applies: For::All,
        sale_price: "320.00",
        company: Some("D001"),
        ages: None,
        valid_to: "20261231",
        mandatory: &[
            "001001", "001002", "001003", "001004", "001005", "002001", "002002", "002003", "002004", "002005",
            "002006",
        ],
        choice: &[],
        add_on: &["001006"],
    },
    Package {
        code: "TC006",
        name: "学生体检套餐",
        kind: "学生体检",
        applies: For::All,
        sale_price: "58.00",
        company: None,
        ages: None,
        valid_to: "99991231",
        mandatory: &["001001", "001002", "001003", "002001"],
        choice: &[],
        add_on: &[],
    },
];
