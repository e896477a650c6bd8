/* The status page: the verdict, the way of a record, the sums, the streams, the outbox. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now;
  var t = H.t,
    term = H.term,
    named = H.named,
    answer = H.answer,
    id = H.id,
    el = H.el,
    put = H.put,
    clear = H.clear,
    say = H.say,
    cell = H.cell,
    head = H.head,
    empty = H.empty,
    parts = H.parts,
    time = H.time,
    age = H.age,
    bytes = H.bytes,
    request = H.request;
  var COLOURS = { ok: "#4ed08b", attention: "#ffb84d", failing: "#ff6b6b" };
  var OUTBOX_SHOWN = 20,
    EVERY = 3000;

  /* The verdict */
  function heldKinds() {
    var kinds = now.report.store.held_open,
      list = [],
      i;
    for (i = 0; i < kinds.length && i < 4; i++) {
      list.push(named("reasons", kinds[i].reason) + " " + kinds[i].count);
    }
    return list.join(now.lang === "zh" ? "、" : ", ") + (kinds.length > 4 ? " …" : "");
  }
  function streamOf(subject) {
    for (var i = 0; i < now.report.streams.length; i++) {
      if ("stream " + now.report.streams[i].id === subject) {
        return now.report.streams[i];
      }
    }
    return null;
  }
  /* The agent's sentences are English; where the page has words for a code, those come first. */
  function reasonLine(why) {
    var row = el("li", null, why.level),
      words = term("health", why.code),
      stream = streamOf(why.subject),
      link = null,
      code;
    var place = {
      held: "at-held",
      sum: "at-sum",
      "upstream-down": "at-outbox",
      "upstream-slow": "at-outbox"
    }[why.code];
    if (!place && stream) {
      place = "at-streams";
    }
    row.appendChild(
      el(
        "b",
        stream
          ? t("stream") + " " + stream.id
          : why.code === "held"
            ? t("held")
            : why.code === "upstream-down" || why.code === "upstream-slow"
              ? t("s4")
              : why.subject
      )
    );
    if (!words) {
      row.appendChild(document.createTextNode((now.lang === "zh" && why.text_zh) || why.text));
      row.appendChild(el("span", "→ " + ((now.lang === "zh" && why.next_zh) || why.next), "next"));
    } else {
      code = now.report.upstream.breaker.code || "";
      row.appendChild(
        document.createTextNode(
          t2(
            words,
            why.since ? age(why.since) : "",
            code,
            now.report.store.outbox_depth,
            H.held.count(),
            heldKinds()
          )
        )
      );
      if (why.code.indexOf("stream-") === 0 && stream && stream.failure) {
        row.appendChild(document.createTextNode("：" + named("classes", stream.failure.class)));
      }
      row.appendChild(
        el(
          "span",
          "→ " + ((why.code === "upstream-down" && answer(code)) || term("nexts", why.code) || why.next),
          "next"
        )
      );
      if (why.code !== "held" && why.code.indexOf("upstream") !== 0 && why.code !== "stream-silent") {
        row.appendChild(el("span", why.text + " → " + why.next, "said"));
      }
    }
    if (place) {
      link = el("a", "↓");
      link.href = "#" + place;
      row.insertBefore(document.createTextNode(" "), row.querySelector(".next"));
      row.insertBefore(link, row.querySelector(".next"));
    }
    return row;
  }
  function t2(text) {
    var given = arguments;
    return text.replace(/\{(\d)\}/g, function (_, n) {
      return given[+n + 1];
    });
  }
  function drawVerdict() {
    var verdict = id("verdict"),
      health = now.report.health,
      list = clear(verdict.querySelector("ul")),
      sub = [],
      i;
    verdict.className = "verdict " + health.level;
    id("mark").className = "mark " + health.level;
    document.title = (health.level === "ok" ? "" : "● ") + t(health.level) + " · hisync";
    id("icon").href =
      "data:image/svg+xml," +
      encodeURIComponent(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="' +
          COLOURS[health.level] +
          '"/></svg>'
      );
    var title = verdict.querySelector("h1");
    if (title.textContent !== t(health.level)) {
      say(title, t(health.level));
    }
    if (health.level === "ok") {
      sub.push(t("fine"));
    }
    sub.push(
      now.report.upstream.last_success
        ? t("lastDelivered", time(now.report.upstream.last_success))
        : t("never")
    );
    sub.push(now.report.store.outbox_depth ? t("waits", now.report.store.outbox_depth) : t("nothingWaits"));
    say(
      verdict.querySelector(".sub"),
      sub
        .join(now.lang === "zh" ? "，" : ", ")
        .replace("。，", "。")
        .replace(".,", ".")
    );
    for (i = 0; i < health.reasons.length; i++) {
      list.appendChild(reasonLine(health.reasons[i]));
    }
  }

  /* The flow */
  function level(state) {
    if (state === "failing" || state === "stopped" || state === "paused") {
      return "failing";
    }
    return state === "starting" ? "attention" : "";
  }
  function box(number, label, below, cls) {
    var flow = id("flow");
    if (flow.firstChild) {
      flow.appendChild(el("div", "→", "arrow"));
    }
    flow.appendChild(
      put(
        el("div", null, "box " + (cls || "")),
        el("span", label, "title"),
        el("strong", number),
        el("span", below)
      )
    );
  }
  function drawFlow() {
    var bad = 0,
      worst = "",
      received = 0,
      newest = "",
      breaker = now.report.upstream.breaker,
      up = breaker.state === "closed",
      i,
      state;
    clear(id("flow"));
    for (i = 0; i < now.report.store.streams.length; i++) {
      received += now.report.store.streams[i].records;
      if ((now.report.store.streams[i].last_received_at || "") > newest) {
        newest = now.report.store.streams[i].last_received_at;
      }
    }
    for (i = 0; i < now.report.streams.length; i++) {
      state = level(now.report.streams[i].state);
      if (state) {
        bad += 1;
        worst = worst === "failing" ? worst : state;
      }
    }
    var open = H.held.count(),
      oldest = now.report.store.oldest_undelivered_at;
    box(now.report.streams.length, t("s1"), bad ? t("s1bad", bad) : t("s1ok"), worst);
    box(
      received,
      t("s2"),
      (newest ? t("s2last", age(newest)) : t("s2none")) + (open ? " · " + t("heldHere", open) : ""),
      open ? "attention" : ""
    );
    box(
      now.report.store.outbox_depth,
      t("s3"),
      oldest ? t("s3old", age(oldest)) : t("s3none"),
      now.report.store.outbox_depth && !up ? "attention" : ""
    );
    box(
      up ? t("up") : breaker.state === "half_open" ? t("probing") : t("down"),
      t("s4"),
      up
        ? now.report.upstream.last_success
          ? t("s4last", time(now.report.upstream.last_success))
          : t("never")
        : t("s4since", time(breaker.since), breaker.code || "–"),
      up ? "" : "failing"
    );
  }

  /* Nothing disappears */
  function drawTotals() {
    var columns = ["source", "delivered", "unchanged", "held", "queued"],
      signs = ["", "=", "+", "+", "+"];
    var table = id("totals"),
      row = el("tr"),
      body = clear(table.tBodies[0]),
      names = [],
      all = { adds_up: true },
      i,
      c,
      sum,
      order;
    row.appendChild(el("th", t("entity")));
    for (c = 0; c < columns.length; c++) {
      row.appendChild(put(el("th", null, "n"), el("i", signs[c]), document.createTextNode(t(columns[c]))));
      all[columns[c]] = 0;
    }
    row.appendChild(el("th", t("adds"), "n"));
    clear(table.tHead).appendChild(row);
    order = ["exam_item", "exam_item_group", "exam_package", "exam_report"];
    for (i = 0; i < order.length; i++) {
      if (now.report.store.totals[order[i]]) {
        names.push(order[i]);
      }
    }
    for (i = 0; i < names.length; i++) {
      sum = now.report.store.totals[names[i]];
      for (c = 0; c < columns.length; c++) {
        all[columns[c]] += sum[columns[c]];
      }
      all.adds_up = all.adds_up && sum.adds_up;
      body.appendChild(totalsRow(named("entities", names[i]), sum, columns));
    }
    if (names.length > 1) {
      row = totalsRow(t("all"), all, columns);
      row.className = "all";
      body.appendChild(row);
    }
    if (!names.length) {
      empty(body, 7, t("s2none"));
    }
  }
  function totalsRow(name, sum, columns) {
    var row = el("tr"),
      c;
    cell(row, name);
    for (c = 0; c < columns.length; c++) {
      cell(row, sum[columns[c]], "n" + (sum[columns[c]] ? (columns[c] === "held" ? " some" : "") : " zero"));
    }
    put(
      cell(row, null, "n"),
      el("span", sum.adds_up ? t("yes") : t("no"), "pill " + (sum.adds_up ? "" : "failing"))
    );
    return row;
  }

  function drawStreams() {
    var body = head(id("streams"), [
        ["stream"],
        ["entity"],
        ["state"],
        ["last"],
        ["next", "opt"],
        ["newest", "opt"],
        ["records", "n"]
      ]),
      i,
      stream,
      row,
      node;
    var newest = {},
      stored = {};
    for (i = 0; i < now.report.store.streams.length; i++) {
      newest[now.report.store.streams[i].stream] = now.report.store.streams[i].last_received_at;
      stored[now.report.store.streams[i].stream] = now.report.store.streams[i].records;
    }
    for (i = 0; i < now.report.streams.length; i++) {
      stream = now.report.streams[i];
      row = el("tr");
      put(
        cell(row, stream.id),
        el(
          "div",
          [stream.connector, term("modes", stream.mode) || stream.mode]
            .concat(stream.endpoint || [])
            .join(" · "),
          "quiet"
        )
      );
      cell(row, named("entities", stream.entity));
      node = put(cell(row), el("span", named("states", stream.state), "pill " + level(stream.state)));
      if (stream.failure && level(stream.state)) {
        put(
          node,
          el(
            "div",
            (term("classes", stream.failure.class) ? term("classes", stream.failure.class) + "：" : "") +
              stream.failure.message,
            "why"
          ),
          stream.failure.hint && el("div", "→ " + stream.failure.hint, "quiet")
        );
      }
      cell(row, time(stream.last_success_at), "t");
      cell(row, time(stream.next_at), "t opt");
      cell(row, time(newest[stream.id]), "t opt");
      cell(row, stored[stream.id] || 0, "n");
      body.appendChild(row);
    }
    if (!now.report.streams.length) {
      empty(body, 7, t("none"));
    }
  }

  function drawOutbox(items) {
    var body = head(id("outbox"), [
        ["eventId"],
        ["entity"],
        ["state"],
        ["age"],
        ["attempts", "n"],
        ["due", "opt"],
        ["code"]
      ]),
      depth = now.report.store.outbox_depth,
      i,
      row,
      node;
    say(id("outbox-count"), depth ? depth : "");
    for (i = 0; i < items.length; i++) {
      row = el("tr");
      put(cell(row), el("code", items[i].event_id.substring(0, 13) + "…")).title = items[i].event_id;
      cell(row, named("entities", items[i].entity));
      put(cell(row), el("span", named("entry", items[i].state), "pill none"));
      cell(row, age(items[i].created_at), "t");
      cell(row, items[i].attempts, "n");
      cell(row, time(items[i].next_try_at), "t opt");
      node = cell(row, items[i].last_code || "–");
      if (items[i].last_code && answer(items[i].last_code)) {
        node.appendChild(el("div", answer(items[i].last_code), "quiet"));
      }
      body.appendChild(row);
    }
    if (!items.length) {
      empty(body, 7, t("nothingOut"));
    } else if (items.length < depth) {
      empty(body, 7, t("outboxMore", items.length, depth));
    }
  }

  function drawWords() {
    var words = document.querySelectorAll("[data-t]"),
      i;
    for (i = 0; i < words.length; i++) {
      say(words[i], t(words[i].getAttribute("data-t")));
    }
    say(id("lang"), now.lang === "zh" ? "English" : "中文");
    document.documentElement.lang = now.lang === "zh" ? "zh-CN" : "en";
  }
  function drawFoot() {
    var restarts = 0,
      i;
    for (i = 0; i < now.report.tasks.length; i++) {
      restarts += now.report.tasks[i].restarts;
    }
    say(
      id("foot"),
      [
        "hisync " + now.report.agent.version,
        t("running") + " " + time(now.report.agent.started_at),
        t("config") + " " + now.report.agent.config_digest.substring(0, 12),
        t("free") + " " + bytes(now.report.disk.free_bytes),
        t("zone", now.report.agent.timezone)
      ]
        .concat(restarts ? t("restarts", restarts) : [])
        .join(" · ")
    );
  }
  function draw() {
    id("body").className = "";
    say(id("who"), now.report.agent.hospital + " · " + now.report.agent.campus);
    say(id("clock"), parts(new Date(now.report.now)).hour);
    drawVerdict();
    drawFlow();
    drawTotals();
    drawStreams();
    drawFoot();
  }
  function lost() {
    var verdict = id("verdict");
    verdict.className = "verdict failing";
    id("mark").className = "mark failing";
    document.title = "● " + t("lost");
    say(verdict.querySelector("h1"), t("lost"));
    say(verdict.querySelector(".sub"), t("lostNext", now.report ? time(now.report.now) : "–"));
    clear(verdict.querySelector("ul"));
    id("body").className = "stale";
    id("body").hidden = !now.report;
  }
  /* A store whose file is damaged can't tell everything: what is missing is null. The verdict says so. */
  function mended(report) {
    var store = (report.store = report.store || {});
    store.totals = store.totals || {};
    store.streams = store.streams || [];
    store.held_open = store.held_open || [];
    if (store.outbox_depth === null || store.outbox_depth === undefined) {
      store.outbox_depth = "?";
    }
    return report;
  }
  function refresh() {
    request("GET", "/api/status", null, function (status, report) {
      if (status === 401) {
        H.access.ask(refresh);
        return;
      }
      if (status !== 200 || !report) {
        lost();
        return;
      }
      now.report = mended(report);
      id("body").hidden = false;
      draw();
      H.held.refresh();
      request("GET", "/api/outbox?limit=" + OUTBOX_SHOWN, null, function (s, found) {
        if (s === 200 && found) {
          drawOutbox(found);
        }
      });
    });
  }
  id("lang").onclick = function () {
    now.lang = now.lang === "zh" ? "en" : "zh";
    try {
      window.localStorage.setItem("lang", now.lang);
    } catch (e) {
      /* private mode */
    }
    H.held.reset();
    drawWords();
    refresh();
  };
  H.refresh = refresh;
  id("body").hidden = true;
  drawWords();
  H.access.begin(function () {
    refresh();
    window.setInterval(refresh, EVERY);
  });
})();
