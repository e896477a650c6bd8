/* The page as a whole: the verdict, the navigation, which page is open, and how it is kept up to date. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    id = H.id,
    el = H.el,
    put = H.put,
    clear = H.clear,
    say = H.say;
  var COLOURS = { ok: "#4ed08b", attention: "#ffb84d", failing: "#ff6b6b" },
    ORDER = ["overview", "streams", "held", "codes", "outbox", "find", "alerts", "compare", "config", "audit"],
    EVERY = 3000;
  var opened = "",
    timer = null;

  function plain(text) {
    try {
      return decodeURIComponent(text);
    } catch (e) {
      /* somebody typed it */
      return "";
    }
  }
  /* Which page, and what of it: #/held/17 */
  function where() {
    var parts = /^#\/([a-z]+)\/?(.*)$/.exec(window.location.hash) || [],
      name = H.pages[parts[1]] ? parts[1] : "overview";
    return { name: name, rest: H.pages[parts[1]] ? plain(parts[2]) : "" };
  }

  /* The verdict: whole on the overview, one line elsewhere. */
  var PLACES = {
    held: ["held", "goHeld"],
    "held-old": ["held", "goHeld"],
    onboarding: ["held", "goHeld"],
    "unmapped-codes": ["codes", "goCodes"],
    "upstream-down": ["outbox", "goOutbox"],
    "upstream-slow": ["outbox", "goOutbox"],
    "attachments-down": ["outbox", "goOutbox"],
    outbox: ["outbox", "goOutbox"],
    "source-down": ["streams", "goStreams"],
    "reconcile-drift": ["compare", "goCompare"],
    "reconcile-failed": ["compare", "goCompare"]
  };
  function heldKinds() {
    var kinds = now.report.store.held_open,
      list = [],
      i;
    for (i = 0; i < kinds.length && i < 4; i++) {
      list.push(H.named("reasons", kinds[i].reason) + " " + kinds[i].count);
    }
    return list.join(now.lang === "zh" ? "、" : ", ") + (kinds.length > 4 ? " …" : "");
  }
  function reasonLine(why) {
    var row = el("li", null, why.level),
      stream = /^stream (.+)$/.exec(why.subject),
      place = PLACES[why.code] || (stream && ["streams/" + stream[1], "goStreams"]),
      code = now.report.upstream.breaker.code || "",
      next = (why.code === "upstream-down" && now.lang === "zh" && H.answer(code)) || H.said(why, "next"),
      text = H.said(why, "text");
    if (why.code === "held" && now.lang === "zh") {
      text = text.replace(/：.*$/, "：" + heldKinds());
    }
    put(
      row,
      el("b", H.subject(why.subject)),
      H.sentence(el("span"), text),
      next ? H.sentence(el("div", "→ ", "next"), next) : null
    );
    if (place) {
      row.insertBefore(H.link(t(place[1]), place[0], "go"), row.querySelector(".next"));
    }
    return row;
  }
  function drawVerdict() {
    var place = clear(id("verdict")),
      health = now.report.health,
      sub = [],
      list = el("ul");
    id("mark").className = "mark " + health.level;
    document.title = (health.level === "ok" ? "" : "● ") + t(health.level) + " · hisync";
    id("icon").href =
      "data:image/svg+xml," +
      encodeURIComponent(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="' +
          COLOURS[health.level] +
          '"/></svg>'
      );
    if (opened !== "overview") {
      place.className = "verdict line " + health.level;
      if (health.level !== "ok") {
        put(
          place,
          H.link(t(health.level) + (health.reasons.length ? " · " + health.reasons.length : ""), "overview")
        );
      }
      return;
    }
    place.className = "verdict " + health.level;
    if (health.level === "ok") {
      sub.push(t("fine"));
    }
    sub.push(
      now.report.upstream.last_success ? t("lastDelivered", H.time(now.report.upstream.last_success)) : t("never")
    );
    sub.push(now.report.store.outbox_depth ? t("waits", H.num(now.report.store.outbox_depth)) : t("nothingWaits"));
    health.reasons.forEach(function (why) {
      put(list, reasonLine(why));
    });
    put(place, el("h1", t(health.level)), el("p", sub.join(" · "), "sub"), health.reasons.length ? list : null);
  }

  function drawNav() {
    var nav = clear(id("nav"));
    ORDER.forEach(function (name) {
      var page = H.pages[name],
        count = page.count ? page.count() : 0,
        node = H.link(t(page.word), name, name === opened ? "on" : "");
      if (name === opened) {
        node.setAttribute("aria-current", "page");
      }
      put(nav, count ? put(node, el("span", H.num(count), "count")) : node);
    });
    nav.setAttribute("aria-label", t("nav"));
  }
  function drawFoot() {
    var restarts = 0,
      report = now.report,
      i;
    for (i = 0; i < report.tasks.length; i++) {
      restarts += report.tasks[i].restarts;
    }
    say(
      id("foot"),
      [
        "hisync " + report.agent.version,
        t("running") + " " + H.time(report.agent.started_at),
        t("config") + " " + report.agent.config_digest.substring(0, 12),
        t("free") + " " + H.bytes(report.disk.free_bytes),
        t("zone", report.agent.timezone)
      ]
        .concat(restarts ? t("restarts", restarts) : [])
        .join(" · ")
    );
  }
  function drawAround() {
    say(id("who"), now.report.agent.hospital + " · " + now.report.agent.campus);
    say(id("clock"), H.parts(new Date(now.report.now)).hour);
    drawNav();
    drawVerdict();
    drawFoot();
    id("page").className = "";
  }
  function lost() {
    var place = clear(id("verdict"));
    place.className = "verdict failing";
    id("mark").className = "mark failing";
    document.title = "● " + t("lost");
    put(place, el("h1", t("lost")), el("p", t("lostNext", now.report ? H.time(now.report.now) : "–"), "sub"));
    id("page").className = "stale";
  }

  /* Opens the page that the address names. */
  function open() {
    var at = where();
    if (!now.report) {
      return;
    }
    opened = at.name;
    drawAround();
    H.pages[opened].show(clear(id("page")), at.rest);
    id("page").setAttribute("data-page", opened + (at.rest ? "/" + at.rest : ""));
    window.scrollTo(0, 0);
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
    H.request("GET", "/api/status", null, function (status, report) {
      var first = !now.report;
      if (status === 401) {
        H.access.ask(start);
        return;
      }
      if (status !== 200 || !report) {
        lost();
        return;
      }
      now.report = mended(report);
      if (first || !opened) {
        open();
        return;
      }
      drawAround();
      if (H.pages[opened].tick) {
        H.pages[opened].tick();
      }
    });
  }
  function start() {
    opened = "";
    refresh();
    if (!timer) {
      timer = window.setInterval(refresh, EVERY);
    }
  }
  function drawLanguage() {
    say(id("lang"), now.lang === "zh" ? "English" : "中文");
    document.documentElement.lang = now.lang === "zh" ? "zh-CN" : "en";
  }
  id("lang").onclick = function () {
    now.lang = now.lang === "zh" ? "en" : "zh";
    try {
      window.localStorage.setItem("lang", now.lang);
    } catch (e) {
      /* private mode */
    }
    drawLanguage();
    H.access.again();
    open();
  };
  window.onhashchange = function () {
    if (now.kept) {
      now.kept = false;
    } else {
      H.notice("");
    }
    open();
  };
  H.refresh = refresh;
  H.start = start;
  drawLanguage();
  H.access.begin(start);
})();
