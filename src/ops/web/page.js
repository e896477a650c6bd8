/* Written for browsers of 2013 on: no build step, no modules, no fetch. Text of the agent only ever
   becomes text nodes. Shows no key and no personal data unless a person asks, with name and reason. */
(function () {
  "use strict";
  var WORDS = window.HISYNC_WORDS,
    COLOURS = { ok: "#4ed08b", attention: "#ffb84d", failing: "#ff6b6b" };
  var HELD_SHOWN = 100,
    OUTBOX_SHOWN = 20,
    EVERY = 3000;
  var lang = "zh",
    last = null,
    held = [],
    reason = "",
    opened = null,
    who = "",
    notice = "";

  try {
    lang =
      (/[?&]lang=(zh|en)/.exec(window.location.search) || [])[1] || window.localStorage.getItem("lang") || "";
    who = window.sessionStorage.getItem("who") || "";
  } catch (e) {
    lang = "";
  }
  if (lang !== "zh" && lang !== "en") {
    lang = /^zh/i.test(navigator.language || "zh") ? "zh" : "en";
  }

  /* Words */
  function t(word, a, b, c, d) {
    var given = [a, b, c, d],
      text = WORDS[lang][word];
    return (text === undefined ? word : text).replace(/\{(\d)\}/g, function (_, n) {
      return given[n];
    });
  }
  function term(list, word) {
    var found = WORDS[lang][list][word];
    return found === undefined ? null : found;
  }
  function named(list, word) {
    return term(list, word) || word || "–";
  }
  function answer(code) {
    return term("answers", code) || term("answers", String(code).substring(0, 6));
  }

  /* Nodes */
  function id(name) {
    return document.getElementById(name);
  }
  function el(tag, text, cls) {
    var node = document.createElement(tag);
    if (text !== undefined && text !== null) {
      node.appendChild(document.createTextNode(String(text)));
    }
    if (cls) {
      node.className = cls;
    }
    return node;
  }
  function put(node) {
    for (var i = 1; i < arguments.length; i++) {
      if (arguments[i]) {
        node.appendChild(arguments[i]);
      }
    }
    return node;
  }
  function clear(node) {
    while (node.firstChild) {
      node.removeChild(node.firstChild);
    }
    return node;
  }
  function say(node, text) {
    clear(node).appendChild(document.createTextNode(text));
    return node;
  }
  function cell(row, text, cls) {
    var node = el("td", text, cls);
    row.appendChild(node);
    return node;
  }
  function button(text, act, cls) {
    var node = el("button", text, cls);
    node.type = "button";
    node.onclick = act;
    return node;
  }
  function head(table, words) {
    var row = el("tr"),
      i;
    for (i = 0; i < words.length; i++) {
      row.appendChild(el("th", words[i][0] ? t(words[i][0]) : "", words[i][1]));
    }
    clear(table.tHead).appendChild(row);
    return clear(table.tBodies[0]);
  }
  function empty(body, columns, text) {
    var row = el("tr");
    cell(row, text, "quiet").colSpan = columns;
    body.appendChild(row);
  }

  /* Times are the hospital's; where a browser knows no zones, its own. */
  function two(n) {
    return n < 10 ? "0" + n : "" + n;
  }
  function parts(at) {
    var found = null;
    try {
      found = /(\d+)\/(\d+)\/(\d+)\D+(\d+):(\d+):(\d+)/.exec(
        new Intl.DateTimeFormat("en-GB", {
          timeZone: last.agent.timezone,
          hour12: false,
          year: "numeric",
          month: "2-digit",
          day: "2-digit",
          hour: "2-digit",
          minute: "2-digit",
          second: "2-digit"
        })
          .format(at)
          .replace(/[\u200e\u200f]/g, "")
      );
    } catch (e) {
      found = null;
    }
    if (found) {
      return { day: found[2] + "-" + found[1], hour: two(found[4] % 24) + ":" + found[5] + ":" + found[6] };
    }
    return {
      day: two(at.getMonth() + 1) + "-" + two(at.getDate()),
      hour: two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds())
    };
  }
  function time(text) {
    if (!text) {
      return "–";
    }
    var at = parts(new Date(text)),
      now = parts(new Date(last.now));
    return at.day === now.day ? at.hour : at.day + " " + at.hour;
  }
  function age(text) {
    var secs = Math.max(0, Math.round((new Date(last.now) - new Date(text)) / 1000));
    if (secs < 120) {
      return t("sec", secs);
    }
    if (secs < 7200) {
      return t("min", Math.round(secs / 60));
    }
    return secs < 172800 ? t("hour", Math.round(secs / 3600)) : t("day", Math.round(secs / 86400));
  }
  function bytes(n) {
    return n === null
      ? "–"
      : n >= 1e9
        ? (n / 1e9).toFixed(n < 1e10 ? 1 : 0) + " GB"
        : (n / 1e6).toFixed(0) + " MB";
  }

  function request(method, path, body, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, path, true);
    xhr.timeout = 10000;
    xhr.setRequestHeader("X-Hisync", "1");
    if (body) {
      xhr.setRequestHeader("Content-Type", "application/json");
    }
    xhr.onreadystatechange = function () {
      if (xhr.readyState !== 4) {
        return;
      }
      var json = null;
      try {
        json = JSON.parse(xhr.responseText);
      } catch (e) {
        json = null;
      }
      done(xhr.status, json);
    };
    xhr.send(body ? JSON.stringify(body) : null);
  }

  /* The verdict */
  function openHeld() {
    var kinds = last.store.held_open,
      n = 0,
      i;
    for (i = 0; i < kinds.length; i++) {
      n += kinds[i].count;
    }
    return n;
  }
  function heldKinds() {
    var kinds = last.store.held_open,
      list = [],
      i;
    for (i = 0; i < kinds.length && i < 4; i++) {
      list.push(named("reasons", kinds[i].reason) + " " + kinds[i].count);
    }
    return list.join(lang === "zh" ? "、" : ", ") + (kinds.length > 4 ? " …" : "");
  }
  function streamOf(subject) {
    for (var i = 0; i < last.streams.length; i++) {
      if ("stream " + last.streams[i].id === subject) {
        return last.streams[i];
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
      row.appendChild(document.createTextNode(why.text));
      row.appendChild(el("span", "→ " + why.next, "next"));
    } else {
      code = last.upstream.breaker.code || "";
      row.appendChild(
        document.createTextNode(
          t2(words, why.since ? age(why.since) : "", code, last.store.outbox_depth, openHeld(), heldKinds())
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
      health = last.health,
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
    sub.push(last.upstream.last_success ? t("lastDelivered", time(last.upstream.last_success)) : t("never"));
    sub.push(last.store.outbox_depth ? t("waits", last.store.outbox_depth) : t("nothingWaits"));
    say(
      verdict.querySelector(".sub"),
      sub
        .join(lang === "zh" ? "，" : ", ")
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
      breaker = last.upstream.breaker,
      up = breaker.state === "closed",
      i,
      state;
    clear(id("flow"));
    for (i = 0; i < last.store.streams.length; i++) {
      received += last.store.streams[i].records;
      if ((last.store.streams[i].last_received_at || "") > newest) {
        newest = last.store.streams[i].last_received_at;
      }
    }
    for (i = 0; i < last.streams.length; i++) {
      state = level(last.streams[i].state);
      if (state) {
        bad += 1;
        worst = worst === "failing" ? worst : state;
      }
    }
    var open = openHeld(),
      oldest = last.store.oldest_undelivered_at;
    box(last.streams.length, t("s1"), bad ? t("s1bad", bad) : t("s1ok"), worst);
    box(
      received,
      t("s2"),
      (newest ? t("s2last", age(newest)) : t("s2none")) + (open ? " · " + t("heldHere", open) : ""),
      open ? "attention" : ""
    );
    box(
      last.store.outbox_depth,
      t("s3"),
      oldest ? t("s3old", age(oldest)) : t("s3none"),
      last.store.outbox_depth && !up ? "attention" : ""
    );
    box(
      up ? t("up") : breaker.state === "half_open" ? t("probing") : t("down"),
      t("s4"),
      up
        ? last.upstream.last_success
          ? t("s4last", time(last.upstream.last_success))
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
      if (last.store.totals[order[i]]) {
        names.push(order[i]);
      }
    }
    for (i = 0; i < names.length; i++) {
      sum = last.store.totals[names[i]];
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
    for (i = 0; i < last.store.streams.length; i++) {
      newest[last.store.streams[i].stream] = last.store.streams[i].last_received_at;
      stored[last.store.streams[i].stream] = last.store.streams[i].records;
    }
    for (i = 0; i < last.streams.length; i++) {
      stream = last.streams[i];
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
    if (!last.streams.length) {
      empty(body, 7, t("none"));
    }
  }

  /* Held items. While one is open the list stands still, so that nothing moves under the hand. */
  function drawHeld() {
    var kinds = last.store.held_open,
      chips = clear(id("reasons")),
      all = openHeld(),
      count = id("held-count"),
      byReason = {},
      i;
    say(count, all ? all : "").className = "count" + (all ? " attention" : "");
    for (i = 0; i < kinds.length; i++) {
      byReason[kinds[i].reason] = (byReason[kinds[i].reason] || 0) + kinds[i].count;
    }
    if (reason && !byReason[reason]) {
      reason = "";
    }
    function chip(text, value) {
      chips.appendChild(
        button(
          text,
          function () {
            reason = value;
            opened = null;
            refresh();
          },
          reason === value ? "on" : ""
        )
      );
    }
    if (all) {
      chip(t("everything") + " " + all, "");
      Object.keys(byReason)
        .sort()
        .forEach(function (name) {
          chip(named("reasons", name) + " " + byReason[name], name);
        });
      if (reason && byReason[reason] > 1) {
        chips.appendChild(
          button(t("retryAll", byReason[reason]), function () {
            form(clear(id("bulk")), { verb: "retry", path: "/api/held/retry", on: { reason: reason } });
          })
        );
      }
    }
    chips.appendChild(el("div")).id = "bulk";
    if (notice) {
      chips.appendChild(el("p", notice, "hint"));
    }
    var body = head(id("held"), [["reason"], ["entity"], ["stream", "opt"], ["since", "opt"], ["age"], [""]]);
    for (i = 0; i < held.length; i++) {
      body.appendChild(heldRow(held[i]));
    }
    if (!held.length) {
      empty(body, 6, t("nothingHeld"));
    }
    var total = reason ? byReason[reason] : all;
    say(id("held-more"), held.length < total ? t("more", held.length, total) : "");
  }
  function heldRow(item) {
    var row = el("tr"),
      words = term("reasons", item.reason),
      acts;
    put(
      cell(row),
      el("span", words || item.reason),
      words && el("div", item.reason + " · #" + item.id, "quiet"),
      !words && el("div", "#" + item.id, "quiet")
    );
    cell(row, named("entities", item.entity));
    cell(row, item.stream, "opt");
    cell(row, time(item.opened_at), "t opt");
    cell(row, age(item.opened_at), "t");
    acts = cell(row, null, "acts");
    put(
      acts,
      button(t("show"), function () {
        open(row, item, null);
      })
    );
    verbs(item).forEach(function (verb) {
      put(
        acts,
        button(t(verb), function () {
          open(row, item, verb);
        })
      );
    });
    return row;
  }
  function verbs(item) {
    return item.leg === "withdrawal" ? ["release", "dismiss"] : ["retry", "dismiss"];
  }
  function open(row, item, verb) {
    if (opened) {
      opened.row.parentNode.removeChild(opened.inside);
      opened.row.className = "";
    }
    var inside = el("tr", null, "inside"),
      space = cell(inside);
    space.colSpan = 6;
    row.className = "open";
    row.parentNode.insertBefore(inside, row.nextSibling);
    opened = { row: row, inside: inside };
    notice = "";
    look(space, item, verb, null);
  }
  function shut() {
    opened = null;
    refresh();
  }
  function look(space, item, verb, personal) {
    var path = "/api/held/" + item.id;
    if (personal) {
      path +=
        "?personal=" + encodeURIComponent(personal.because) + "&who=" + encodeURIComponent(personal.who);
    }
    request("GET", path, null, function (status, found) {
      clear(space);
      if (status !== 200) {
        space.appendChild(el("p", t("refused", (found && found.error) || status), "why"));
        return;
      }
      drawDetail(space, item, found, personal);
      if (verb) {
        ask(space, item, verb);
      }
    });
  }
  function drawDetail(space, item, found, personal) {
    var left = el("div"),
      right = el("div"),
      bar = el("div"),
      list = found.findings || [],
      table,
      i,
      row;
    left.appendChild(el("h3", t("findings")));
    if (list.length) {
      table = el("table", null, "findings");
      put(table, el("thead"), el("tbody"));
      var body = head(table, [["severity"], ["place"], ["message"], ["value"]]);
      for (i = 0; i < list.length; i++) {
        row = el("tr");
        put(
          cell(row),
          el(
            "span",
            named("severities", list[i].severity),
            "pill " + (list[i].severity === "hold" ? "attention" : "none")
          )
        );
        put(cell(row), el("code", list[i].path || "–"));
        put(cell(row, list[i].message), el("div", list[i].code, "quiet"));
        put(
          cell(row),
          el(
            "code",
            list[i].source_value === undefined || list[i].source_value === null ? "–" : list[i].source_value
          )
        );
        body.appendChild(row);
      }
      left.appendChild(table);
    } else {
      left.appendChild(el("p", t("none"), "quiet"));
    }
    if (found.history && found.history.length) {
      left.appendChild(el("h3", t("history")));
      for (i = 0; i < found.history.length; i++) {
        left.appendChild(
          el(
            "div",
            time(found.history[i].at) +
              "  " +
              found.history[i].who +
              "  " +
              found.history[i].act +
              "  " +
              found.history[i].detail,
            "quiet"
          )
        );
      }
    }
    left.appendChild(
      el(
        "p",
        [
          item.stream,
          t("mapping") + " " + (item.mapping_version || "–"),
          t("archive") + " " + (item.archive_id || "–")
        ].join(" · "),
        "quiet"
      )
    );
    right.appendChild(
      el("h3", (found.raw_text || !found.event ? t("raw") : t("event")) + (personal ? "" : " " + t("masked")))
    );
    right.appendChild(
      el("pre", found.raw_text || (found.event ? JSON.stringify(found.event, null, 2) : "–"))
    );
    put(space, put(el("div", null, "pair"), left, right), bar);
    bar.className = "acts";
    put(bar, button(t("close"), shut));
    verbs(item).forEach(function (verb) {
      put(
        bar,
        document.createTextNode(" "),
        button(t(verb), function () {
          ask(space, item, verb);
        })
      );
    });
    if (!personal) {
      put(
        bar,
        document.createTextNode(" "),
        button(t("unmask"), function () {
          ask(space, item, "unmask");
        })
      );
    }
  }
  function ask(space, item, verb) {
    var old = space.querySelector(".form"),
      place = el("div");
    if (old) {
      old.parentNode.parentNode.removeChild(old.parentNode);
    }
    space.appendChild(place);
    form(place, { verb: verb, path: "/api/held/" + item.id + "/" + verb, space: space, item: item });
  }
  /* Asks who acts, and why where that is to be known; then acts. */
  function form(place, act) {
    var node = el("div", null, "form"),
      wrong = el("p", "", "why"),
      needsWhy = act.verb === "dismiss" || act.verb === "unmask";
    var name = el("input"),
      why = el("input"),
      go,
      label;
    name.type = why.type = "text";
    name.value = who;
    name.maxLength = 60;
    why.maxLength = 200;
    node.appendChild(el("p", t(act.verb + "Means")));
    label = el("label");
    put(node, put(label, el("span", t("who")), name));
    if (needsWhy) {
      label = el("label");
      put(node, put(label, el("span", t("because")), why));
    }
    node.appendChild(wrong);
    go = button(
      t("confirm", t(act.verb).replace("…", "")),
      function () {
        var body = { who: trim(name.value), because: trim(why.value) };
        if (!body.who || (needsWhy && !body.because)) {
          say(wrong, t(needsWhy ? "must" : "mustWho"));
          (body.who ? why : name).focus();
          return;
        }
        who = body.who;
        try {
          window.sessionStorage.setItem("who", who);
        } catch (e) {
          /* private mode */
        }
        if (act.verb === "unmask") {
          look(act.space, act.item, null, body);
          return;
        }
        if (act.on) {
          body.on = act.on;
        }
        go.disabled = true;
        request("POST", act.path, body, function (status, found) {
          go.disabled = false;
          if (status !== 200 || !found) {
            say(wrong, t("refused", (found && found.error) || status));
            return;
          }
          if (found.still_held && act.item) {
            say(wrong, t("done", found.settled, found.still_held) + " " + found.problems.join("; "));
            return;
          }
          notice = t("done", found.settled, found.still_held) + " " + found.problems.join("; ");
          opened = null;
          clear(place);
          refresh();
        });
      },
      "main"
    );
    node.onkeydown = function (event) {
      if (event.keyCode === 13 && event.target.tagName === "INPUT") {
        go.click();
      }
      if (event.keyCode === 27) {
        place.parentNode.removeChild(place);
      }
    };
    put(
      node,
      go,
      button(t("cancel"), function () {
        clear(place);
      })
    );
    put(place, node);
    (who && needsWhy ? why : who ? go : name).focus();
  }
  function trim(text) {
    return text.replace(/^\s+|\s+$/g, "");
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
      depth = last.store.outbox_depth,
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
    say(id("lang"), lang === "zh" ? "English" : "中文");
    document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  }
  function drawFoot() {
    var restarts = 0,
      i;
    for (i = 0; i < last.tasks.length; i++) {
      restarts += last.tasks[i].restarts;
    }
    say(
      id("foot"),
      [
        "hisync " + last.agent.version,
        t("running") + " " + time(last.agent.started_at),
        t("config") + " " + last.agent.config_digest.substring(0, 12),
        t("free") + " " + bytes(last.disk.free_bytes),
        t("zone", last.agent.timezone)
      ]
        .concat(restarts ? t("restarts", restarts) : [])
        .join(" · ")
    );
  }
  function draw() {
    id("body").className = "";
    say(id("who"), last.agent.hospital + " · " + last.agent.campus);
    say(id("clock"), parts(new Date(last.now)).hour);
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
    say(verdict.querySelector(".sub"), t("lostNext", last ? time(last.now) : "–"));
    clear(verdict.querySelector("ul"));
    id("body").className = "stale";
    id("body").hidden = !last;
  }
  function typing() {
    var bulk = id("bulk");
    return opened || (bulk && bulk.firstChild);
  }
  function refresh() {
    request("GET", "/api/status", null, function (status, report) {
      if (status !== 200 || !report) {
        lost();
        return;
      }
      last = report;
      id("body").hidden = false;
      draw();
      request(
        "GET",
        "/api/held?limit=" + HELD_SHOWN + (reason ? "&reason=" + encodeURIComponent(reason) : ""),
        null,
        function (s, found) {
          if (s === 200 && found && !typing()) {
            held = found;
            drawHeld();
          }
        }
      );
      request("GET", "/api/outbox?limit=" + OUTBOX_SHOWN, null, function (s, found) {
        if (s === 200 && found) {
          drawOutbox(found);
        }
      });
    });
  }
  id("lang").onclick = function () {
    lang = lang === "zh" ? "en" : "zh";
    try {
      window.localStorage.setItem("lang", lang);
    } catch (e) {
      /* private mode */
    }
    opened = null;
    notice = "";
    drawWords();
    if (last) {
      clear(id("reasons"));
    }
    refresh();
  };
  document.onkeydown = function (event) {
    if (event.keyCode === 27 && opened) {
      shut();
    }
  };
  id("body").hidden = true;
  drawWords();
  refresh();
  window.setInterval(refresh, EVERY);
})();
