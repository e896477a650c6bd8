/* Chinese for codes of the agent. What has no words here is shown as it is. */
window.HISYNC_WORDS.codes.zh = {
  entities: {
    exam_item: "明细项目", exam_item_group: "组合项目", exam_package: "套餐",
    exam_report: "体检报告", critical_value: "危急值"
  },
  states: {
    starting: "启动中", reading: "读取中", waiting: "正常", listening: "监听中",
    paused: "已暂停", stopped: "已停止", failing: "故障"
  },
  modes: {
    incremental: "增量", snapshot: "全量", push: "接收"
  },
  entry: {
    queued: "排队", claimed: "准备发送", inflight: "发送中", waiting: "等待重试",
    delivered: "已送达", held: "已扣下"
  },
  severities: {
    hold: "须人工处理", warn: "提示", info: "信息"
  },
  answers: {
    "http-401": "上游不认可凭据：核对两边的密钥与时钟",
    "http-403": "上游拒绝本院：请确认上游已开通",
    "http-404": "上游没有这个地址：检查 upstream.url",
    "http-429": "上游要求放慢，会自动减速",
    unreachable: "连不上上游：检查地址、网络、代理与防火墙",
    timeout: "上游超时没有回答，会以同一编号重发",
    "connection-lost": "连接中断，会以同一编号重发",
    "receipt-unreadable": "上游的回执读不懂：中间是否有代理？",
    "request-not-made": "读不到密钥，日志里有名字",
    "http-5": "上游自身故障，会以同一编号重发；请通知上游",
    "http-3": "上游要求跳转，hisync 不会跟随：检查 upstream.url"
  },
  classes: {
    "name-resolution": "域名解析失败", unreachable: "连不上", tls: "TLS 失败",
    login: "登录被拒", permission: "没有权限", missing: "表或视图不存在",
    charset: "字符集不符", timeout: "超时", protocol: "协议错误", data: "数据读不懂",
    bind: "端口被占用", other: "其他故障"
  },
  problems: {
    "the mapping in force does not accept them either: show an item to see why": "现行映射仍不接受，“查看”里有原因",
    "this is released or dismissed, not retried": "此项只能放行或作废，不能重试"
  },
  reasons: {
    "unknown-code": "代码表里没有的代码", "bulk-withdrawal": "大批条目同时消失",
    "gone-from-source": "来源系统中已不存在", "upstream-excess": "上游有而各来源均无",
    "hl7-charset": "字符集无法解码", "hl7-charset-doubtful": "字符集可疑",
    "hl7-charset-unknown": "未知的字符集", "hl7-delimiters": "HL7 分隔符错误",
    "hl7-segment": "HL7 段错误", "hl7-no-header": "HL7 缺少消息头",
    "hl7-stray": "HL7 多余内容", "hl7-several-patients": "一条消息里有多个人",
    "hl7-batch-count": "HL7 批次条数不符", "hl7-too-long": "消息过长",
    "mllp-garbage": "无法识别的数据", "duplicate-key": "主键重复", "null-key": "主键为空",
    "text-encoding": "文字编码损坏", "damaged-text": "文字损坏",
    "missing-value": "缺少必需的值", "missing-field": "缺少字段",
    "unreadable-value": "值读不懂", "not-a-number": "不是数字",
    "implausible-date": "日期不合理", "dates-reversed": "日期先后颠倒",
    "duplicate-result": "结果重复", "duplicate-item": "项目重复",
    "repeated-entity": "同一记录中同一对象重复且内容不同",
    "report-empty": "终审报告没有内容", "package-empty": "套餐没有项目",
    "price-negative": "价格为负", "sale-above-original": "售价高于原价",
    "id-checksum": "证件号校验不符", "id-disagrees": "证件号与性别或生日不符",
    "age-disagrees": "年龄与生日不符", "flag-opposite": "异常标志与参考范围相反",
    "flag-disagrees": "异常标志与参考范围不符", "flag-unknown": "未知的异常标志",
    "range-reversed": "参考范围上下限颠倒", "unit-unknown": "未知的单位",
    "group-missing": "缺少组合项目", "hospital-mismatch": "医院代码不符",
    "campus-mismatch": "院区代码不符", "parts-disagree": "几个系统说法不一",
    "waiting-for-parts": "等待其他系统的结果",
    "parts-overdue": "其他系统的结果逾期未到", "attachment-empty": "附件为空",
    "attachment-missing": "附件缺失", "attachment-encoding": "附件编码无法读取",
    "attachment-too-large": "附件过大", "attachment-unknown-type": "附件类型无法识别",
    "attachment-error-page": "附件是网页错误信息", "attachment-truncated": "附件不完整",
    "attachment-encrypted": "附件有密码", "attachment-type-differs": "附件类型与声明不符",
    "attachment-other-number": "附件里是另一个体检号",
    "attachment-text-unreadable": "附件文字无法核对",
    "attachment-shared": "两个人的附件相同", "attachment-unknown": "上游没有该附件",
    "attachment-unreadable": "本地附件无法读取",
    "another-person": "报告变成了另一个人的",
    "another-visit": "同一体检号，可能是另一次体检",
    "older-revision": "迟到的旧版本", "member-unknown": "组合里有字典没有的项目",
    "order-unknown": "开单的组合不在字典里",
    "package-sex": "套餐的适用性别与本人不符", "item-unknown": "结果项目不在字典里",
    "item-unlisted": "结果项目不属于该组合", "panel-incomplete": "组合的结果不全",
    "unit-differs": "单位与字典不同", "unit-missing": "字典有单位，结果没有",
    "kind-differs": "结果类型与字典不同",
    "name-of-another": "名称是字典里另一个项目的",
    "result-vanished": "已上送报告的结果消失", "mass-change": "目录一次变动过大",
    "price-jump": "价格大幅变动", "members-dropped": "明细一次减少过多",
    "sex-changed": "适用性别改变", "mass-disabled": "大批停用或撤回",
    "unit-changed": "已知项目的单位改变", "group-unknown": "字典里没有该组合",
    "group-off": "套餐启用但组合已停用", onboarding: "新数据流首批样本待确认",
    "unreadable-event": "本地数据损坏，无法读取", "mapping-panic": "映射出错（缺陷）",
    "empty-key": "主键为空", "model-mismatch": "与数据模型不符",
    "manifest-mismatch": "明细条数对不上", "no-entity": "记录里没有该类数据",
    "missing-column": "来源缺少该列", "not-a-scalar": "应为单个值",
    "money-fraction": "金额不足一分", expression: "表达式无法计算",
    "group-disagrees": "同组各行说法不一", "choice-impossible": "选择组无法满足",
    "ages-reversed": "年龄上下限颠倒", "company-missing": "缺少单位",
    "no-members": "组合没有明细项目", "date-order": "日期先后不合理",
    "price-sum": "必检项目价格合计与原价不符",
    "issued-at-missing": "已出报告但缺报告日期",
    "recheck-itself": "复查指向本次体检号", substitute: "替检",
    "empty-value": "已出报告但缺结果", "group-unordered": "有结果但未登记的组合",
    "price-zero": "套餐价格为零而项目有价", "item-sex": "项目与性别不符",
    "range-overlap": "参考范围重叠", "range-unread": "参考范围读不懂",
    "range-sex": "参考范围是另一性别的",
    "columns-shifted": "列错位（单位与参考范围）", "unit-unfit": "单位与项目不符",
    magnitude: "数值与单位量级不符", "implausible-value": "数值不合常理",
    "age-impossible": "年龄超过130岁", "phone-form": "电话号码不完整",
    "signer-missing": "已出报告但缺总检或审核医生",
    "conclusion-missing": "已出报告但没有总检结论",
    "conclusion-denies": "有危急值而结论称未见异常",
    "conclusion-silent": "有异常标志而结论称未见异常",
    "text-at-limit": "文字长度等于列宽，可能被截断",
    bmi: "体重指数与身高体重不符", "differential-sum": "白细胞分类合计不在98–102%",
    "differential-count": "白细胞绝对值与百分比不符",
    "protein-sum": "总蛋白不等于白蛋白加球蛋白", "albumin-globulin": "白球比不符",
    "bilirubin-sum": "总胆红素不等于直接加间接", mchc: "平均血红蛋白浓度不符",
    hematocrit: "红细胞压积与红细胞数和体积不符",
    "cholesterol-sum": "高低密度脂蛋白之和大于总胆固醇",
    "pressure-order": "收缩压不高于舒张压", "part-header": "没有可作报告主体的部分",
    "child-key-ambiguous": "明细与主记录的关联不明确",
    "document-json": "存档无法读取（缺陷）",
    "hl7-several-messages": "一帧里有多条消息", rejected: "上游拒收"
  },
  standings: {
    healthy: "正常", "quiet-as-expected": "应有的安静", "quiet-and-suspicious": "可疑的安静",
    behind: "落后", failing: "失败", stopped: "已停止"
  },
  acts: {
    login: "登录", logout: "退出", "login-refused": "登录被拒", "held-retry": "重试",
    "held-release": "放行", "held-dismiss": "作废", "show-personal": "查看个人信息",
    "codes-map": "对应代码", "codes-applied": "代码生效", "source-reset": "来源立即再试",
    "upstream-reset": "上游立即重发", "alert-silence": "静默告警",
    "alert-silence-end": "结束静默", "switch-set": "设置开关", "switch-clear": "恢复开关",
    "switch-expired": "开关到期"
  },
  subjects: {
    codes: "未知代码", "held items": "待人工处理", upstream: "上游", disk: "磁盘",
    archive: "存档", outbox: "待发送", agent: "hisync", configuration: "配置", intake: "接收"
  },
  verdicts: {
    unchanged: "文件没有变化", applied: "已采用", "would-apply": "会采用",
    restarting: "正在整体重启", "would-restart": "会整体重启",
    refused: "未采用：有问题", "rolled-back": "已退回旧配置"
  },
  itemStates: {
    open: "待处理", retried: "已重试", released: "已放行", dismissed: "已作废",
    superseded: "已被取代"
  }
};
