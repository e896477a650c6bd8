//! Reports as the agent's connector hands them over, without a database in between: for
//! measurements of mapping and storage. A test holds them to what the real views give.

use connector_api::{Document, Map, Value};

use super::catalogue::Role;
use super::day::default_date;
use super::peis::{ReportState, padded_name, result_columns, stamp};
use super::people::Sex;
use super::visit::Visit;

/// Final reports of `n` people, in the shape of V_体检报告 with its children `items`, `orders` and
/// `conclusions`.
pub fn report_rows(seed: u64, n: usize) -> impl Iterator<Item = Document> {
    (0..n).map(move |index| report_row(&Visit::draw(seed, index, n, default_date())))
}

/// One final report.
pub(super) fn report_row(visit: &Visit) -> Document {
    let person = &visit.person;
    let day = visit.registered_at.date();
    let concluded = stamp(visit.registered_at + chrono::Duration::hours(6));
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let mut root = Map::from_iter([
        ("体检号", Value::from(visit.exam_no.as_str())),
        ("报告号", Value::from(format!("BG{}", visit.exam_no))),
        ("报告状态", Value::from(ReportState::Concluded.code())),
        ("总检时间", Value::from(concluded.as_str())),
        ("总检医生", Value::from(visit.chief)),
        ("审核医生", Value::from(visit.chief)),
        ("更新时间", Value::from(concluded.as_str())),
        ("档案号", Value::from(person.archive_no.as_str())),
        ("姓名", Value::from(padded_name(person))),
        ("性别", Value::from(if person.sex == Sex::Male { "1" } else { "2" })),
        ("出生日期", Value::from(person.birth.format("%Y%m%d").to_string())),
        ("证件号", Value::from(person.citizen_id.as_str())),
        ("电话", Value::from(person.phone.as_str())),
        ("婚姻", Value::from(person.marital)),
        ("单位编码", text(person.company.map(|(code, _)| code))),
        ("单位名称", text(person.company.map(|(_, name)| name))),
        ("套餐编码", Value::from(visit.package.code)),
        ("登记时间", Value::from(stamp(visit.registered_at))),
        ("体检日期", Value::from(day.format("%Y/%-m/%-d").to_string())),
        ("年龄", Value::from(format!("{}岁", person.age(day)))),
        ("状态", Value::from("6")),
        ("原体检号", text(visit.previous.as_deref())),
    ]);
    let exam_no = || ("体检号", Value::from(visit.exam_no.as_str()));
    let mut items = Vec::new();
    let mut orders = Vec::new();
    for (place, order) in (1_i64..).zip(&visit.orders) {
        orders.push(Value::Map(Map::from_iter([
            exam_no(),
            ("组合编码", Value::from(order.group.code)),
            ("来源", Value::from(if order.role == Role::AddOn { "2" } else { "1" })),
            ("状态", Value::from(order.state())),
            ("序号", Value::from(place)),
        ])));
        for (line, row) in order.results.iter().enumerate() {
            let columns = result_columns(row, line, None);
            items.push(Value::Map(Map::from_iter([
                exam_no(),
                ("组合编码", Value::from(order.group.code)),
                ("组合名称", Value::from(order.group.name)),
                ("科室", Value::from(order.group.department)),
                ("小结", Value::from(order.summary())),
                ("组合序号", Value::from(place)),
                ("明细编码", Value::from(row.item.code)),
                ("明细名称", Value::from(row.item.name)),
                ("结果", Value::from(columns.value)),
                ("单位", text(columns.unit)),
                ("参考范围", text(columns.reference)),
                ("提示", text(columns.flag)),
                ("危急标志", Value::from(columns.critical)),
                ("序号", Value::from(line as i64 + 1)),
                ("检查时间", Value::from(order.performed_at.format("%Y-%m-%d %H:%M").to_string())),
                ("检查医生", Value::from(order.performer)),
            ])));
        }
    }
    let conclusions = (1_i64..).zip(visit.conclusions()).map(|(place, conclusion)| {
        Value::Map(Map::from_iter([
            exam_no(),
            ("序号", Value::from(place)),
            ("类型", Value::from(conclusion.kind)),
            ("内容", Value::from(conclusion.text)),
            ("建议", text(conclusion.advice)),
        ]))
    });
    root.push("items", items);
    root.push("orders", orders);
    root.push("conclusions", conclusions.collect::<Vec<_>>());
    Document::new(root)
}
