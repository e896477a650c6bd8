/* What the page says, in Chinese and English. Codes that have no words here are shown as they are. */
window.HISYNC_WORDS = {
  zh: {
    ok: "同步正常", attention: "需要关注", failing: "同步故障", lost: "无法连接 hisync",
    lostNext: "请检查服务是否在运行（systemctl status hisync）。下面是 {0} 的状态，已不是最新。",
    fine: "没有需要处理的事。", lastDelivered: "最近一次送达 {0}", never: "尚无送达", nothingWaits: "没有排队的事件", waits: "{0} 条事件排队中",
    s1: "来源数据流", s1ok: "全部正常", s1bad: "{0} 个异常", s2: "已接收", s2last: "最近一条 {0}前", s2none: "还没有记录",
    s3: "待发送", s3none: "没有积压", s3old: "最早的已等 {0}", s4: "上游平台", up: "畅通", down: "中断", probing: "试探中",
    s4last: "最近送达 {0}", s4since: "自 {0} 起，{1}", heldHere: "另有 {0} 条待人工处理",
    sum: "一条不丢：来源版本 = 已送达 + 未变化 + 待人工处理 + 排队中", sumHint: "从医院系统读到的每个版本都恰好在其中一列；两边必须相等。",
    entity: "类别", source: "来源版本", delivered: "已送达", unchanged: "未变化", held: "待人工处理", queued: "排队中", adds: "核对", all: "合计",
    heldClosed: "含已结案的", yes: "相等", no: "不相等！",
    streams: "数据流", stream: "数据流", state: "状态", last: "最近成功", next: "下次", records: "记录", newest: "最近新记录",
    heldHint: "hisync 不能担保的记录在这里等人判断：绝不猜测，也绝不丢弃。它只挡住自己这一条，不影响其他记录。",
    reason: "原因", since: "开始", age: "已等待", findings: "发现的问题", none: "没有", nothingHeld: "没有需要人工处理的记录。",
    more: "这里只列出最早的 {0} 条，共 {1} 条。", everything: "全部", severity: "级别", place: "位置", message: "说明", value: "来源中的值",
    show: "查看", close: "收起", retry: "重试", release: "放行", dismiss: "作废", cancel: "取消", confirm: "确认{0}", retryAll: "全部重试（{0}）",
    retryMeans: "按现行的映射与代码表重新处理并发送。映射没改过，结果就不会变。", releaseMeans: "让这批撤回生效：上游将删除这些条目。请先与医院核实。",
    dismissMeans: "不再处理这一条：它不会送到上游。请写明理由，会记入审计。", who: "您的姓名", because: "理由", must: "请填写姓名和理由。", mustWho: "请填写姓名。",
    raw: "原始记录", masked: "（个人信息已遮盖）", unmask: "显示个人信息…", unmaskMeans: "会显示真实姓名、证件号与结果；谁、何时、为何查看都会记入审计。",
    event: "被上游拒收的事件", history: "处理经过", mapping: "映射", archive: "存档编号",
    done: "已处理 {0} 条，仍有 {1} 条待处理。", refused: "未能执行：{0}", outbox: "待发送", outboxHint: "同一对象的事件按顺序发送；没有上游的回执，一条也不会消失。",
    nothingOut: "全部已送达或待人工处理。", outboxMore: "这里只列出最早的 {0} 条，共 {1} 条。",
    eventId: "事件", attempts: "次数", due: "下次尝试", code: "最近回答", running: "运行自", version: "版本", config: "配置", free: "磁盘剩余",
    restarts: "任务重启 {0} 次", zone: "时间均为 {0}",
    sec: "{0} 秒", min: "{0} 分钟", hour: "{0} 小时", day: "{0} 天",
    entities: { exam_item: "明细项目", exam_item_group: "组合项目", exam_package: "套餐", exam_report: "体检报告" },
    states: {
      starting: "启动中", reading: "读取中", waiting: "正常", listening: "监听中", paused: "已暂停", stopped: "已停止", failing: "故障"
    },
    modes: { incremental: "增量", snapshot: "全量", push: "接收" },
    entry: { queued: "排队", claimed: "准备发送", inflight: "发送中", waiting: "等待重试" },
    severities: { hold: "须人工处理", warn: "提示", info: "信息" },
    health: {
      "stream-failing": "数据流读取失败", "stream-stopped": "数据流已停止", "stream-paused": "数据流已暂停：磁盘空间不足", "stream-silent": "规定时段内没有新数据，已 {0}",
      "upstream-down": "发送已暂停 {0}（{1}）；{2} 条事件在排队，全部保留", "upstream-slow": "最早的未送达事件已等 {0}，共 {2} 条", "held": "{3} 条记录待人工处理：{4}",
      "sum": "版本数对不上", "task": "内部任务重启", "disk": "磁盘空间低于下限，已停止接收"
    },
    nexts: {
      "stream-failing": "hisync 会自动重试；请检查来源系统、网络和账号。", "stream-stopped": "重试无用，请按下面的说明修复，再执行 systemctl reload hisync。", "stream-paused": "清理磁盘后自动恢复。",
      "stream-silent": "请确认医院系统在运行；hisync check 会显示来源中最新的一行。", "upstream-down": "", "upstream-slow": "看下面“待发送”里的最近回答。",
      "held": "请逐条查看：改正代码表或映射后会自动重试。", "sum": "这是缺陷：请保留数据目录的副本并报告。", "task": "hisync 会自动恢复；日志里有详情。", "disk": "清理磁盘后自动恢复，不会丢数据。"
    },
    answers: {
      "http-401": "上游不认可凭据：核对两边的密钥与时钟", "http-403": "上游拒绝本院：请确认上游已开通", "http-404": "上游没有这个地址：检查 upstream.url",
      "http-429": "上游要求放慢，会自动减速", "unreachable": "连不上上游：检查地址、网络、代理与防火墙", "timeout": "上游超时没有回答，会以同一编号重发",
      "connection-lost": "连接中断，会以同一编号重发", "receipt-unreadable": "上游的回执读不懂：中间是否有代理？", "request-not-made": "读不到密钥，日志里有名字",
      "http-5": "上游自身故障，会以同一编号重发；请通知上游", "http-3": "上游要求跳转，hisync 不会跟随：检查 upstream.url"
    },
    classes: {
      "name-resolution": "域名解析失败", unreachable: "连不上", tls: "TLS 失败", login: "登录被拒", permission: "没有权限", missing: "表或视图不存在",
      charset: "字符集不符", timeout: "超时", protocol: "协议错误", data: "数据读不懂", bind: "端口被占用", other: "其他故障"
    },
    reasons: {
      "unknown-code": "代码表里没有的代码", "bulk-withdrawal": "大批条目同时消失", "hl7-charset": "字符集无法解码", "hl7-charset-doubtful": "字符集可疑",
      "hl7-charset-unknown": "未知的字符集", "hl7-delimiters": "HL7 分隔符错误", "hl7-segment": "HL7 段错误", "hl7-no-header": "HL7 缺少消息头", "hl7-stray": "HL7 多余内容",
      "hl7-several-patients": "一条消息里有多个人", "hl7-batch-count": "HL7 批次条数不符", "hl7-too-long": "消息过长", "mllp-garbage": "无法识别的数据",
      "duplicate-key": "主键重复", "null-key": "主键为空", "text-encoding": "文字编码损坏", "damaged-text": "文字损坏", "missing-value": "缺少必需的值",
      "missing-field": "缺少字段", "unreadable-value": "值读不懂", "not-a-number": "不是数字", "implausible-date": "日期不合理", "dates-reversed": "日期先后颠倒",
      "duplicate-result": "结果重复", "duplicate-item": "项目重复", "package-empty": "套餐没有项目", "price-negative": "价格为负", "sale-above-original": "售价高于原价",
      "id-checksum": "证件号校验不符", "id-disagrees": "证件号与性别或生日不符", "age-disagrees": "年龄与生日不符", "flag-opposite": "异常标志与参考范围相反",
      "flag-disagrees": "异常标志与参考范围不符", "flag-unknown": "未知的异常标志", "range-reversed": "参考范围上下限颠倒", "unit-unknown": "未知的单位", "group-missing": "缺少组合项目",
      "hospital-mismatch": "医院代码不符", "campus-mismatch": "院区代码不符", "parts-disagree": "几个系统说法不一", "mapping-panic": "映射出错（缺陷）", "rejected": "上游拒收"
    }
  },
  en: {
    ok: "The sync is healthy", attention: "Needs attention", failing: "The sync is failing", lost: "hisync can't be reached",
    lostNext: "Is the service running (systemctl status hisync)? What follows is the state at {0} and no longer current.",
    fine: "Nothing needs a person.", lastDelivered: "last delivery {0}", never: "nothing delivered yet", nothingWaits: "no events wait", waits: "{0} events wait",
    s1: "source streams", s1ok: "all fine", s1bad: "{0} not fine", s2: "records received", s2last: "newest {0} ago", s2none: "none yet",
    s3: "events waiting", s3none: "no backlog", s3old: "the oldest for {0}", s4: "upstream", up: "open", down: "down", probing: "probing",
    s4last: "last delivery {0}", s4since: "since {0}, {1}", heldHere: "{0} held for a person",
    sum: "Nothing disappears: source = delivered + unchanged + held + queued", sumHint: "Every version read from the hospital is in exactly one column; both sides must be equal.",
    entity: "Entity", source: "Source", delivered: "Delivered", unchanged: "Unchanged", held: "Held for a person", queued: "Queued", adds: "Adds up", all: "All",
    heldClosed: "closed ones included", yes: "yes", no: "NO",
    streams: "Streams", stream: "Stream", state: "State", last: "Last success", next: "Next", records: "Records", newest: "Newest record",
    heldHint: "What hisync can't vouch for waits here for a person: never guessed, never dropped. It blocks nothing but itself.",
    reason: "Reason", since: "Since", age: "Waiting", findings: "Findings", none: "none", nothingHeld: "No record needs a person.",
    more: "Only the oldest {0} of {1} are listed.", everything: "All", severity: "Severity", place: "Where", message: "What", value: "Value in the source",
    show: "Show", close: "Close", retry: "Retry", release: "Release", dismiss: "Dismiss", cancel: "Cancel", confirm: "{0}", retryAll: "Retry all ({0})",
    retryMeans: "Maps and sends it again under the mapping and code tables in force. If those did not change, the outcome will not either.",
    releaseMeans: "Lets the withdrawals happen: upstream removes these entries. Ask the hospital first.",
    dismissMeans: "It will not be sent upstream. Say why; that goes to the audit log.", who: "Your name", because: "Why", must: "Give your name and the reason.", mustWho: "Give your name.",
    raw: "Raw record", masked: "(personal data masked)", unmask: "Show personal data…", unmaskMeans: "Shows real names, numbers and results. Who looked, when and why goes to the audit log.",
    event: "The event that upstream refuses", history: "History", mapping: "mapping", archive: "archive id",
    done: "{0} settled, {1} still held.", refused: "Not done: {0}", outbox: "Waiting to be delivered", outboxHint: "Events of one entity go in order; none leaves without upstream's receipt.",
    nothingOut: "Everything is delivered or held.", outboxMore: "Only the oldest {0} of {1} are listed.",
    eventId: "Event", attempts: "Attempts", due: "Next try", code: "Last answer", running: "up since", version: "version", config: "configuration", free: "disk free",
    restarts: "{0} task restarts", zone: "times are {0}",
    sec: "{0} s", min: "{0} min", hour: "{0} h", day: "{0} d",
    entities: { exam_item: "exam item", exam_item_group: "item group", exam_package: "package", exam_report: "report" },
    states: {
      starting: "starting", reading: "reading", waiting: "fine", listening: "listening", paused: "paused", stopped: "stopped", failing: "failing"
    },
    modes: {}, entry: {}, severities: {}, health: {}, nexts: {}, answers: {}, classes: {}, reasons: {}
  }
};
