/* The overview: the way of a record with numbers and charts, how the streams stand, open alerts, and the sums. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    named = H.named,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var parts = null,
    day = null,
    asked = 0;

  /* How a standing looks: level of its pill, and its place in a list (the worst first). */
  var LEVELS = {
    stopped: ["failing", 0],
    failing: ["failing", 1],
    behind: ["attention", 2],
    "quiet-and-suspicious": ["attention", 3],
    "quiet-as-expected": ["none", 4],
    healthy: ["", 5]
  };
  H.standing = function (health) {
    return H.pill(named("standings", health.standing), LEVELS[health.standing][0]);
  };
  H.worstFirst = function (streams) {
    return streams.slice().sort(function (a, b) {
      return LEVELS[a.health.standing][1] - LEVELS[b.health.standing][1] || (a.id < b.id ? -1 : 1);
    });
  };
  H.whyNext = function (health) {
    return [
      health.text ? H.sentence(el("div"), H.said(health, "text")) : "–",
      health.next ? H.sentence(el("div", "→ ", "quiet"), H.said(health, "next")) : null
    ];
  };

  function live() {
    var store = now.report.store,
      received = 0,
      delivered = 0,
      i,
      kind;
    for (i = 0; i < store.streams.length; i++) {
      received += store.streams[i].records + store.streams[i].resent;
    }
    for (kind in store.totals) {
      delivered += store.totals[kind].delivered;
    }
    return [new Date(now.report.now).getTime(), received, delivered, H.heldForPeople(), store.outbox_depth];
  }
  function box(where, name, number, unit, below, level, chart) {
    var node = H.link("", where, "box " + level);
    node.id = "flow-" + name;
    return put(
      node,
      el("span", t(name), "title"),
      put(el("span", null, "figure"), el("strong", number), el("span", unit)),
      el("span", below, "below"),
      chart
    );
  }
  function drawFlow(place) {
    var report = now.report,
      slots = H.halfHours(day || { points: [] }, live()),
      breaker = report.upstream.breaker,
      up = breaker.state === "closed",
      bad = 0,
      failing = false,
      newest = "",
      held = H.heldForPeople(),
      oldest = report.store.oldest_undelivered_at,
      i,
      level;
    for (i = 0; i < report.streams.length; i++) {
      level = LEVELS[report.streams[i].health.standing][0];
      bad += level === "failing" || level === "attention" ? 1 : 0;
      failing = failing || level === "failing";
    }
    for (i = 0; i < report.store.streams.length; i++) {
      newest =
        (report.store.streams[i].last_received_at || "") > newest ? report.store.streams[i].last_received_at : newest;
    }
    function arrow() {
      return el("div", "→", "arrow");
    }
    put(
      clear(place),
      box(
        "streams",
        "s1",
        H.num(report.streams.length - bad) + " / " + report.streams.length,
        bad ? t("s1bad", bad) : t("s1ok"),
        newest ? t("s2last", H.age(newest)) : t("s2none"),
        failing ? "failing" : bad ? "attention" : "",
        H.chart(slots.received, t("cReceived"), "bars")
      ),
      arrow(),
      box(
        "held",
        "s2",
        H.num(H.sum(slots.received)),
        t("s2unit"),
        held + " " + t("cHeld"),
        held ? "attention" : "",
        H.chart(slots.held, t("cHeld"), "level")
      ),
      arrow(),
      box(
        "outbox",
        "s3",
        H.num(report.store.outbox_depth),
        t("s3unit"),
        oldest ? t("s3old", H.age(oldest)) : t("s3none"),
        report.store.outbox_depth && !up ? "attention" : "",
        H.chart(slots.waiting, t("cWaiting"), "level")
      ),
      arrow(),
      box(
        "outbox",
        "s4",
        H.num(H.sum(slots.delivered)),
        t("s4unit"),
        up
          ? t("up") +
              " · " +
              (report.upstream.last_success ? t("lastDelivered", H.time(report.upstream.last_success)) : t("never"))
          : breaker.state === "half_open"
            ? t("probing")
            : t("s4since", H.time(breaker.since), breaker.code || "–"),
        up ? "" : "failing",
        H.chart(slots.delivered, t("cDelivered"), "bars")
      )
    );
    place.parentNode.querySelector(".soon").style.display = day && slots.known < 4 ? "" : "none";
  }

  function drawStreams(place) {
    put(
      clear(place),
      H.table(
        [
          [
            "stream",
            "key",
            function (stream) {
              return H.link(stream.id, "streams/" + stream.id);
            }
          ],
          [
            "standing",
            "",
            function (stream) {
              return H.standing(stream.health);
            }
          ],
          [
            "whyNext",
            "text",
            function (stream) {
              return H.whyNext(stream.health);
            }
          ],
          [
            "opened",
            "t opt",
            function (stream) {
              return H.time(stream.health.since);
            }
          ]
        ],
        H.worstFirst(now.report.streams),
        t("none")
      )
    );
  }
  function drawAlerts(place) {
    put(
      clear(place),
      H.table(
        [
          [
            "",
            "",
            function (alert) {
              return H.pill(t(alert.reason.level), alert.reason.level);
            }
          ],
          [
            "subject",
            "key",
            function (alert) {
              return H.subject(alert.subject);
            }
          ],
          [
            "message",
            "text",
            function (alert) {
              return H.said(alert.reason, "text") || alert.code;
            }
          ],
          [
            "opened",
            "t",
            function (alert) {
              return H.time(alert.opened_at);
            }
          ]
        ],
        now.report.alerts.open,
        t("noAlerts")
      )
    );
  }

  /* Nothing disappears */
  function drawTotals(place) {
    var columns = ["source", "delivered", "unchanged", "held", "queued"],
      signs = { delivered: "= ", unchanged: "+ ", held: "+ ", queued: "+ " },
      all = { name: t("all"), adds_up: true },
      order = ["exam_item", "exam_item_group", "exam_package", "exam_report", "critical_value"],
      rows = [],
      shown;
    columns.forEach(function (column) {
      all[column] = 0;
    });
    order.forEach(function (entity) {
      var sum = now.report.store.totals[entity];
      if (sum) {
        sum.name = named("entities", entity);
        rows.push(sum);
        columns.forEach(function (column) {
          all[column] += sum[column];
        });
        all.adds_up = all.adds_up && sum.adds_up;
      }
    });
    if (rows.length > 1) {
      rows.push(all);
    }
    shown = [
      [
        "entity",
        "key",
        function (sum) {
          return sum.name;
        }
      ]
    ].concat(
      columns.map(function (column) {
        return [
          column,
          "n",
          function (sum) {
            var cls = sum[column] ? (column === "held" ? "some" : "") : "zero";
            return [el("i", signs[column] || ""), el("span", H.num(sum[column]), cls)];
          }
        ];
      })
    );
    shown.push([
      "adds",
      "n",
      function (sum) {
        return H.pill(sum.adds_up ? t("yes") : t("no"), sum.adds_up ? "" : "failing");
      }
    ]);
    put(
      clear(place),
      H.table(shown, rows, t("s2none"), function (sum) {
        return sum === all ? "all" : "";
      })
    );
  }

  function draw() {
    drawFlow(parts.flow);
    drawStreams(parts.streams);
    drawAlerts(parts.alerts);
    drawTotals(parts.totals);
  }
  H.pages.overview = {
    word: "pOverview",
    show: function (place) {
      var soon = el("p", t("cSoon"), "hint soon");
      soon.style.display = "none";
      parts = { flow: el("div", null, "flow"), streams: el("div"), alerts: el("div"), totals: el("div") };
      put(
        place,
        parts.flow,
        soon,
        put(H.card(t("streams"), "", "at-streams"), parts.streams),
        put(H.card(t("openAlerts"), "", "at-alerts"), parts.alerts),
        put(H.card(t("sum"), t("sumHint"), "at-sum"), parts.totals)
      );
      asked = 0;
      draw();
      H.pages.overview.tick();
    },
    tick: function () {
      draw();
      if (new Date().getTime() - asked > 60000) {
        asked = new Date().getTime();
        H.get("/api/day", null, function (found) {
          day = found;
          draw();
        });
      }
    }
  };
})();
