/* Alerts, comparisons with sources and upstream, and the audit log. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    named = H.named,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var LINES = 100,
    LONGEST_HOURS = 720;
  var parts = null;

  /* Alerts */
  function silence(alert) {
    H.form(parts.form, {
      means: alert.subject + " — " + t("silenceMeans"),
      verb: t("silence"),
      why: t("because"),
      fields: [{ name: "hours", label: t("hoursFor"), value: "12" }],
      check: function (values) {
        var hours = +values.hours;
        return hours >= 1 && hours <= LONGEST_HOURS ? "" : t("badHours");
      },
      send: function (values, done) {
        var body = { code: alert.code, subject: alert.subject, secs: Math.round(values.hours * 3600), who: values.who, because: values.because };
        H.post("/api/alerts/silence", body, done, function () {
          done();
          H.pages.alerts.tick();
        });
      }
    });
  }
  function simple(means, verb, path, body, text) {
    H.form(parts.form, {
      means: t(means),
      verb: t(verb),
      send: function (values, done) {
        body.who = values.who;
        H.post(path, body, done, function () {
          done();
          H.notice(text || "");
          H.pages.alerts.tick();
        });
      }
    });
  }
  function episodes(list, nothing, last) {
    return H.table(
      [
        ["", "", function (alert) { return H.pill(t(alert.reason.level), alert.closed_at ? "none" : alert.reason.level); }],
        ["subject", "key", function (alert) { return [el("span", alert.subject), el("div", alert.code, "quiet")]; }],
        ["message", "text", function (alert) { return [el("div", H.said(alert.reason, "text")), alert.closed_at ? null : el("div", "→ " + H.said(alert.reason, "next"), "quiet")]; }],
        ["opened", "t", function (alert) { return H.time(alert.opened_at); }]
      ].concat(last),
      list,
      nothing
    );
  }
  function drawAlerts(found) {
    put(
      clear(parts.open),
      episodes(found.open, t("noAlerts"), [
        ["told", "t opt", function (alert) { return H.time(alert.told_at); }],
        ["", "acts", function (alert) { return H.act("operate", t("silence"), function () { silence(alert); }); }]
      ])
    );
    put(
      clear(parts.silences),
      H.table(
        [
          ["subject", "key", function (one) { return [one.code, one.subject].filter(Boolean).join(" · "); }],
          ["until", "t", function (one) { return H.time(one.until); }],
          ["who_", "", function (one) { return one.who; }],
          ["because", "text", function (one) { return one.because; }],
          ["", "acts", function (one) { return H.act("operate", t("endIt"), function () { simple("endMeans", "endIt", "/api/alerts/silence/" + one.id + "/end", {}); }); }]
        ],
        found.silences,
        t("noSilences")
      )
    );
    put(
      clear(parts.channels),
      H.table(
        [
          ["channels", "key", function (channel) { return [channel.id, el("div", channel.kind || "–", "quiet")]; }],
          ["state", "text", function (channel) { return channel.failure ? el("span", channel.failure, "why") : H.pill(t("chFine"), ""); }],
          ["waitingMsgs", "n", function (channel) { return channel.waiting; }],
          [
            "",
            "acts",
            function (channel) {
              return H.act("operate", t("testIt"), function () {
                simple("testMeans", "testIt", "/api/alerts/test", { channel: channel.id }, t("testSent"));
              });
            }
          ]
        ],
        found.channels,
        t("noChannels")
      )
    );
    put(clear(parts.ended), episodes(found.ended.slice(0, 50), t("none"), [["endedAt", "t", function (alert) { return H.time(alert.closed_at); }]]));
  }
  H.pages.alerts = {
    word: "pAlerts",
    count: function () {
      return now.report.alerts.open.length;
    },
    show: function (place) {
      parts = { form: el("div"), open: el("div"), silences: el("div"), channels: el("div"), ended: el("div") };
      put(
        place,
        put(H.card(t("openAlerts"), t("alertsHint"), "at-alerts"), parts.form, parts.open),
        put(H.card(t("silences"), null, "at-silences"), parts.silences),
        put(H.card(t("channels"), null, "at-channels"), parts.channels),
        put(H.card(t("ended"), null, "at-ended"), parts.ended)
      );
      H.pages.alerts.tick();
    },
    tick: function () {
      var mine = parts;
      H.get("/api/alerts", parts.open, function (found) {
        if (mine === parts && !parts.form.firstChild) {
          drawAlerts(found);
        }
      });
    }
  };

  /* Comparing */
  var FOUND = ["missing", "differing", "extra", "undelivered"];
  function day(back) {
    var at = new Date(new Date(now.report.now).getTime() - back * 86400000);
    function two(n) {
      return n < 10 ? "0" + n : n;
    }
    return at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate());
  }
  function about(run) {
    return run.subject === "upstream" ? t("upstreamWord") : run.subject;
  }
  function period(run) {
    return run.since ? H.time(run.since) + " – " + H.time(run.until) : t("allOf");
  }
  function stateOf(run) {
    var words = { done: "rDone", failed: "rFailed", running: "rRunning", asked: "rAsked" };
    return H.pill(t(words[run.state] || run.state), run.state === "failed" ? "failing" : run.state === "done" ? "" : "none");
  }
  function drifts(run) {
    var found = FOUND.filter(function (kind) {
      return run[kind];
    });
    return found.length
      ? found
          .map(function (kind) {
            return t(kind) + " " + run[kind];
          })
          .join(" · ")
      : run.state === "done"
        ? t("noItems")
        : "–";
  }
  function askRun() {
    var subjects = now.report.streams
      .map(function (stream) {
        return [stream.id, stream.id];
      })
      .concat([["upstream", t("upstreamWord")]]);
    H.form(parts.form, {
      means: t("askMeans"),
      verb: t("ask"),
      fields: [
        { name: "subject", label: t("subject"), choose: subjects },
        { name: "since", label: t("from_"), value: day(7) },
        { name: "until", label: t("to_"), value: day(0) }
      ],
      send: function (values, done) {
        var body = { who: values.who, subject: values.subject };
        if (values.subject !== "upstream") {
          body.since = values.since;
          body.until = values.until;
        }
        H.post("/api/reconcile", body, done, function (found) {
          done();
          H.notice(t("asked_", found.id));
          H.pages.compare.tick();
        });
      }
    });
  }
  function drawRun(place, id, run, personal) {
    var form = el("div"),
      rows = [
        [t("state"), stateOf(run)],
        [t("period"), period(run)],
        [t("askedBy"), run.asked_by + " · " + H.time(run.started_at)],
        [t("compared"), H.num(run.compared)],
        [t("agreed"), H.num(run.agreed)]
      ]
        .concat(
          FOUND.map(function (kind) {
            return [t(kind), H.num(run[kind])];
          })
        )
        .concat([[t("repaired"), H.num(run.repaired)]]);
    put(
      clear(place),
      H.link(t("back"), "compare", "back"),
      put(H.card(about(run), "#" + run.id, "at-run"), H.facts(rows), run.note ? el("p", run.note, "hint") : null),
      put(
        H.card(t("items_"), t(personal ? "unmasked" : "masked"), "at-items"),
        personal || !run.items.length
          ? null
          : H.act("personal", t("unmask"), function () {
              H.unmask(form, function (query) {
                showRun(clear(place), id, query);
              });
            }),
        form,
        H.table(
          [
            ["kind_", "", function (item) { return H.pill(t(item.kind), item.kind === "undelivered" ? "none" : "attention"); }],
            ["entity", "", function (item) { return named("entities", item.entity); }],
            ["key_", "text", function (item) { return el("code", item.key ? (personal ? item.key : item.key.replace(/[^:]/g, "●")) : "–"); }]
          ],
          run.items,
          t("noItems")
        )
      )
    );
  }
  function showRun(place, id, query) {
    H.get("/api/reconcile/" + encodeURIComponent(id) + (query || ""), place, function (found) {
      drawRun(place, id, found, !!query);
    });
  }
  H.pages.compare = {
    word: "pCompare",
    show: function (place, rest) {
      parts = null;
      if (rest) {
        showRun(place, rest);
        return;
      }
      parts = { form: el("div"), list: el("div") };
      put(
        place,
        put(H.card(t("compareTitle"), t("compareHint"), "at-compare"), put(el("div", null, "bar"), H.act("operate", t("ask"), askRun, "main")), parts.form, parts.list)
      );
      H.pages.compare.tick();
    },
    tick: function () {
      var mine = parts;
      if (!parts) {
        return;
      }
      H.get("/api/reconcile?limit=50", parts.list, function (found) {
        put(
          clear(mine.list),
          H.table(
            [
              ["subject", "key", function (run) { return [H.link(about(run), "compare/" + run.id), el("div", "#" + run.id, "quiet")]; }],
              ["state", "", stateOf],
              ["period", "text", period],
              ["compared", "n", function (run) { return H.num(run.compared); }],
              ["items_", "text", function (run) { return run.state === "failed" ? el("span", run.note || "", "why") : drifts(run); }],
              ["askedBy", "opt", function (run) { return run.asked_by; }],
              ["when_", "t", function (run) { return H.time(run.started_at); }]
            ],
            found,
            t("noRuns")
          )
        );
      });
    }
  };

  /* Audit */
  function drawLines(before) {
    var place = parts.list;
    H.get("/api/audit?limit=" + LINES + (before ? "&before=" + before : ""), place, function (found) {
      put(
        clear(place),
        H.table(
          [
            ["when_", "t", function (line) { return H.time(line.at); }],
            ["who_", "key", function (line) { return line.who; }],
            ["act_", "", function (line) { return [named("acts", line.act), el("div", line.act + " · #" + line.id, "quiet")]; }],
            ["subject", "", function (line) { return line.subject; }],
            ["detail_", "text", function (line) { return line.detail; }]
          ],
          found,
          t("noLines")
        )
      );
      if (found.length === LINES) {
        put(place, H.button(t("older"), function () { drawLines(found[LINES - 1].id); }));
      }
    });
  }
  function drawChain() {
    var place = parts.chain;
    put(clear(place), el("p", t("chainWait"), "hint"));
    H.get("/api/audit/verify", place, function (found) {
      put(
        clear(place),
        put(
          el("p"),
          found.broken_at ? H.pill(t("chainBroken", found.broken_at), "failing") : H.pill(t("chainFine", H.num(found.lines)), ""),
          el("span", " "),
          found.head ? el("span", t("chainHead", found.head.substring(0, 16) + "…"), "quiet") : null
        )
      );
    });
  }
  H.pages.audit = {
    word: "pAudit",
    show: function (place) {
      parts = { chain: el("div"), list: el("div") };
      put(place, put(H.card(t("auditTitle"), t("auditHint"), "at-audit"), parts.chain, parts.list));
      drawChain();
      drawLines(0);
    }
  };
})();
