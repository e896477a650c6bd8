/* Written for browsers of 2013 on: no build step, no modules, no fetch. */
(function () {
  "use strict";
  var WORDS = {
    zh: {
      ok: "同步正常", attention: "需要关注", failing: "同步故障", lost: "无法连接 hisync：请检查服务是否在运行",
      sum: "一条不丢：来源 = 已送达 + 未变化 + 待处理 + 排队中", sumHint: "每个从医院系统读到的版本都在其中一列里，两边必须相等。",
      entity: "类别", source: "来源版本", delivered: "已送达", unchanged: "未变化", held: "待人工处理", queued: "排队中", adds: "核对",
      yes: "相等", no: "不相等", streams: "数据流", stream: "数据流", state: "状态", last: "最近成功", next: "下次", records: "记录数",
      heldHint: "hisync 不能担保的记录留在这里等人判断，绝不猜测，也绝不丢弃。", reason: "原因", age: "已等待", findings: "发现的问题",
      none: "没有", retry: "重试", release: "放行", dismiss: "作废", show: "查看", why: "作废的理由：", raw: "原始记录", outbox: "待发送",
      event: "事件", attempts: "次数", due: "下次尝试", code: "最近结果", s1: "来源数据流", s2: "已接收记录", s3: "待发送事件", s4: "上游",
      up: "畅通", down: "中断", items: "exam_item|明细项目,exam_item_group|组合项目,exam_package|套餐,exam_report|体检报告",
      starting: "启动中", reading: "读取中", waiting: "正常", listening: "监听中", paused: "暂停", stopped: "已停止", close: "关闭",
      since: "运行自", version: "版本", who: "操作人姓名：", personal: "个人信息已遮盖"
    },
    en: {
      ok: "The sync is healthy", attention: "Needs attention", failing: "The sync is failing", lost: "hisync can't be reached: is the service running?",
      sum: "Nothing disappears: source = delivered + unchanged + held + queued", sumHint: "Every version read from the hospital is in exactly one column; both sides must be equal.",
      entity: "Entity", source: "Source", delivered: "Delivered", unchanged: "Unchanged", held: "Held for a person", queued: "Queued", adds: "Adds up",
      yes: "yes", no: "NO", streams: "Streams", stream: "Stream", state: "State", last: "Last success", next: "Next", records: "Records",
      heldHint: "What hisync can't vouch for waits here for a person. It is never guessed and never dropped.", reason: "Reason", age: "Waiting for", findings: "Findings",
      none: "None", retry: "Retry", release: "Release", dismiss: "Dismiss", show: "Show", why: "Why is it dismissed?", raw: "Raw record", outbox: "Waiting to be delivered",
      event: "Event", attempts: "Attempts", due: "Next try", code: "Last answer", s1: "source streams", s2: "records received", s3: "events waiting", s4: "upstream",
      up: "open", down: "down", items: "exam_item|exam item,exam_item_group|item group,exam_package|package,exam_report|report",
      starting: "starting", reading: "reading", waiting: "fine", listening: "listening", paused: "paused", stopped: "stopped", close: "Close",
      since: "up since", version: "version", who: "Your name:", personal: "personal data masked"
    }
  };
  var lang = "zh";
  try { lang = window.localStorage.getItem("lang") || (/^zh/i.test(navigator.language || "zh") ? "zh" : "en"); } catch (e) { lang = "zh"; }
  var last = null;

  function t(word) { return WORDS[lang][word] || word; }
  function id(name) { return document.getElementById(name); }
  function el(tag, text, cls) {
    var node = document.createElement(tag);
    if (text !== undefined && text !== null) { node.appendChild(document.createTextNode(String(text))); }
    if (cls) { node.className = cls; }
    return node;
  }
  function clear(node) { while (node.firstChild) { node.removeChild(node.firstChild); } return node; }
  function request(method, path, body, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, path, true);
    xhr.setRequestHeader("X-Hisync", "1");
    if (body) { xhr.setRequestHeader("Content-Type", "application/json"); }
    xhr.onreadystatechange = function () {
      if (xhr.readyState !== 4) { return; }
      var answer = null;
      try { answer = JSON.parse(xhr.responseText); } catch (e) { answer = null; }
      done(xhr.status, answer);
    };
    xhr.send(body ? JSON.stringify(body) : null);
  }
  function two(n) { return n < 10 ? "0" + n : "" + n; }
  function time(text) {
    if (!text) { return "–"; }
    var at = new Date(text), now = new Date();
    var hour = two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
    return at.toDateString() === now.toDateString() ? hour : two(at.getMonth() + 1) + "-" + two(at.getDate()) + " " + hour;
  }
  function age(text) {
    var secs = Math.max(0, Math.round((new Date() - new Date(text)) / 1000));
    if (secs < 120) { return secs + " s"; }
    if (secs < 7200) { return Math.round(secs / 60) + " min"; }
    return secs < 172800 ? Math.round(secs / 3600) + " h" : Math.round(secs / 86400) + " d";
  }
  function entity(name) {
    var pairs = t("items").split(","), i, pair;
    for (i = 0; i < pairs.length; i++) { pair = pairs[i].split("|"); if (pair[0] === name) { return pair[1]; } }
    return name || "–";
  }
  function head(table, words) {
    var row = el("tr"), i;
    for (i = 0; i < words.length; i++) { row.appendChild(el("th", words[i][0] ? t(words[i][0]) : "", words[i][1])); }
    clear(table.tHead).appendChild(row);
    return clear(table.tBodies[0]);
  }
  function empty(body, columns) {
    var row = el("tr"), cell = el("td", t("none"), "quiet");
    cell.colSpan = columns; row.appendChild(cell); body.appendChild(row);
  }
  function level(state) {
    if (state === "failing" || state === "stopped") { return "failing"; }
    return state === "paused" || state === "starting" ? "attention" : "";
  }

  function box(flow, number, label, cls) {
    if (flow.firstChild) { flow.appendChild(el("div", "→", "arrow")); }
    var node = el("div", null, "box " + cls);
    node.appendChild(el("strong", number)); node.appendChild(el("span", label));
    flow.appendChild(node);
  }
  function draw(report) {
    var i, row, cell, words = document.querySelectorAll("[data-t]");
    for (i = 0; i < words.length; i++) { clear(words[i]).appendChild(document.createTextNode(t(words[i].getAttribute("data-t")))); }
    id("lang").innerHTML = lang === "zh" ? "English" : "中文";
    var verdict = id("verdict"), health = report.health;
    verdict.className = "verdict " + health.level;
    document.querySelector(".mark").className = "mark " + health.level;
    document.title = "hisync · " + t(health.level);
    clear(verdict.querySelector("h1")).appendChild(document.createTextNode(t(health.level)));
    var list = clear(verdict.querySelector("ul"));
    for (i = 0; i < health.reasons.length; i++) {
      row = el("li"); row.appendChild(el("b", health.reasons[i].subject));
      row.appendChild(document.createTextNode(health.reasons[i].text));
      row.appendChild(el("i", "→ " + health.reasons[i].next)); list.appendChild(row);
    }
    id("who").innerHTML = "";
    id("who").appendChild(document.createTextNode(report.agent.hospital + " · " + report.agent.campus));
    clear(id("clock")).appendChild(document.createTextNode(time(report.now)));

    var worst = "", received = 0, up = report.upstream.breaker.state === "closed";
    for (i = 0; i < report.store.streams.length; i++) { received += report.store.streams[i].records; }
    for (i = 0; i < report.streams.length; i++) {
      if (level(report.streams[i].state) === "failing") { worst = "failing"; }
    }
    var flow = clear(id("flow"));
    box(flow, report.streams.length, t("s1"), worst);
    box(flow, received, t("s2"), "");
    box(flow, report.store.outbox_depth, t("s3"), report.store.outbox_depth && !up ? "attention" : "");
    box(flow, up ? t("up") : t("down"), t("s4"), up ? "" : "failing");

    var body = head(id("totals"), [["entity"], ["source", "n"], ["delivered", "n"], ["unchanged", "n"], ["held", "n"], ["queued", "n"], ["adds"]]);
    var names = Object.keys(report.store.totals);
    for (i = 0; i < names.length; i++) {
      var sum = report.store.totals[names[i]]; row = el("tr");
      row.appendChild(el("td", entity(names[i])));
      row.appendChild(el("td", sum.source, "n")); row.appendChild(el("td", sum.delivered, "n"));
      row.appendChild(el("td", sum.unchanged, "n")); row.appendChild(el("td", sum.held, "n")); row.appendChild(el("td", sum.queued, "n"));
      cell = el("td"); cell.appendChild(el("span", sum.adds_up ? t("yes") : t("no"), "pill " + (sum.adds_up ? "" : "failing")));
      row.appendChild(cell); body.appendChild(row);
    }
    if (!names.length) { empty(body, 7); }

    body = head(id("streams"), [["stream"], ["entity"], ["state"], ["last"], ["next"], ["records", "n"]]);
    for (i = 0; i < report.streams.length; i++) {
      var stream = report.streams[i]; row = el("tr");
      cell = el("td", stream.id); cell.appendChild(el("div", stream.connector + (stream.endpoint ? " · " + stream.endpoint : ""), "quiet"));
      row.appendChild(cell); row.appendChild(el("td", entity(stream.entity)));
      cell = el("td"); cell.appendChild(el("span", t(stream.state), "pill " + level(stream.state)));
      if (stream.failure) { cell.appendChild(el("div", stream.failure.message, "why")); if (stream.failure.hint) { cell.appendChild(el("div", stream.failure.hint, "quiet")); } }
      row.appendChild(cell); row.appendChild(el("td", time(stream.last_success_at))); row.appendChild(el("td", time(stream.next_at)));
      row.appendChild(el("td", stream.records, "n")); body.appendChild(row);
    }
    clear(id("foot")).appendChild(document.createTextNode(
      "hisync " + report.agent.version + " · " + t("since") + " " + time(report.agent.started_at) + " · " + report.agent.config_digest.substring(0, 12)));
  }

  function act(item, verb) {
    var body = { who: window.prompt(t("who"), "") };
    if (!body.who) { return; }
    if (verb === "dismiss") { body.because = window.prompt(t("why"), ""); if (!body.because) { return; } }
    request("POST", "/api/held/" + item.id + "/" + verb, body, function (status, answer) {
      if (status >= 300) { window.alert(answer && answer.error ? answer.error : status); }
      refresh();
    });
  }
  function button(cell, item, verb) {
    var node = el("button", t(verb)); node.type = "button";
    node.onclick = function () { if (verb === "show") { detail(item); } else { act(item, verb); } };
    cell.appendChild(node);
  }
  function detail(item) {
    request("GET", "/api/held/" + item.id, null, function (status, answer) {
      var node = clear(id("detail")), pair = el("div", null, "pair"), left = el("div"), right = el("div"), close = el("button", t("close"));
      node.hidden = false;
      left.appendChild(el("h2", t("raw") + " · " + t("personal"))); left.appendChild(el("pre", (answer && answer.raw_text) || "–"));
      right.appendChild(el("h2", t("findings"))); right.appendChild(el("pre", JSON.stringify(answer && answer.findings, null, 2)));
      pair.appendChild(left); pair.appendChild(right); node.appendChild(pair); node.appendChild(close);
      close.onclick = function () { node.hidden = true; };
    });
  }
  function drawHeld(items) {
    var body = head(id("held"), [["reason"], ["entity"], ["stream"], ["age"], [""]]), i, row, cell;
    for (i = 0; i < items.length; i++) {
      row = el("tr"); cell = el("td"); cell.appendChild(el("code", items[i].reason)); row.appendChild(cell);
      row.appendChild(el("td", entity(items[i].entity))); row.appendChild(el("td", items[i].stream)); row.appendChild(el("td", age(items[i].opened_at)));
      cell = el("td"); cell.style.whiteSpace = "nowrap";
      button(cell, items[i], "show"); button(cell, items[i], "retry");
      if (items[i].leg === "withdrawal" || items[i].reason === "another-person") { button(cell, items[i], "release"); }
      button(cell, items[i], "dismiss"); row.appendChild(cell); body.appendChild(row);
    }
    if (!items.length) { empty(body, 5); }
  }
  function drawOutbox(items) {
    var body = head(id("outbox"), [["event"], ["entity"], ["state"], ["age"], ["attempts", "n"], ["due"], ["code"]]), i, row;
    for (i = 0; i < items.length; i++) {
      row = el("tr"); row.appendChild(el("td", items[i].event_id)); row.appendChild(el("td", entity(items[i].entity)));
      row.appendChild(el("td", items[i].state)); row.appendChild(el("td", age(items[i].created_at))); row.appendChild(el("td", items[i].attempts, "n"));
      row.appendChild(el("td", time(items[i].next_try_at))); row.appendChild(el("td", items[i].last_code || "–")); body.appendChild(row);
    }
    if (!items.length) { empty(body, 7); }
  }
  function refresh() {
    request("GET", "/api/status", null, function (status, report) {
      if (status !== 200 || !report) {
        id("verdict").className = "verdict failing";
        clear(id("verdict").querySelector("h1")).appendChild(document.createTextNode(t("lost")));
        return;
      }
      last = report; draw(report);
      request("GET", "/api/held?limit=50", null, function (s, answer) { if (s === 200) { drawHeld(answer); } });
      request("GET", "/api/outbox?limit=20", null, function (s, answer) { if (s === 200) { drawOutbox(answer); } });
    });
  }
  id("lang").onclick = function () {
    lang = lang === "zh" ? "en" : "zh";
    try { window.localStorage.setItem("lang", lang); } catch (e) { /* private mode */ }
    if (last) { draw(last); } refresh();
  };
  refresh();
  window.setInterval(refresh, 3000);
}());
