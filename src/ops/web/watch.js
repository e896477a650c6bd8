/* Comparisons with sources and upstream, and the audit log. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    named = H.named,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var LINES = 100;
  var parts = null;

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
    return H.pill(
      t(words[run.state] || run.state),
      run.state === "failed" ? "failing" : run.state === "done" ? "" : "none"
    );
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
            [
              "kind_",
              "",
              function (item) {
                return H.pill(t(item.kind), item.kind === "undelivered" ? "none" : "attention");
              }
            ],
            [
              "entity",
              "",
              function (item) {
                return named("entities", item.entity);
              }
            ],
            [
              "key_",
              "text",
              function (item) {
                return el("code", item.key ? (personal ? item.key : item.key.replace(/[^:]/g, "●")) : "–");
              }
            ]
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
        put(
          H.card(t("compareTitle"), t("compareHint"), "at-compare"),
          put(el("div", null, "bar"), H.act("operate", t("ask"), askRun, "main")),
          parts.form,
          parts.list
        )
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
              [
                "subject",
                "key",
                function (run) {
                  return [H.link(about(run), "compare/" + run.id), el("div", "#" + run.id, "quiet")];
                }
              ],
              ["state", "", stateOf],
              ["period", "text", period],
              [
                "compared",
                "n",
                function (run) {
                  return H.num(run.compared);
                }
              ],
              [
                "items_",
                "text",
                function (run) {
                  return run.state === "failed" ? el("span", run.note || "", "why") : drifts(run);
                }
              ],
              [
                "askedBy",
                "opt",
                function (run) {
                  return run.asked_by;
                }
              ],
              [
                "when_",
                "t",
                function (run) {
                  return H.time(run.started_at);
                }
              ]
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
            [
              "when_",
              "t",
              function (line) {
                return H.time(line.at);
              }
            ],
            [
              "who_",
              "key",
              function (line) {
                return line.who;
              }
            ],
            [
              "act_",
              "",
              function (line) {
                return [named("acts", line.act), el("div", line.act + " · #" + line.id, "quiet")];
              }
            ],
            [
              "subject",
              "",
              function (line) {
                return line.subject;
              }
            ],
            [
              "detail_",
              "text",
              function (line) {
                return line.detail;
              }
            ]
          ],
          found,
          t("noLines")
        )
      );
      if (found.length === LINES) {
        put(
          place,
          H.button(t("older"), function () {
            drawLines(found[LINES - 1].id);
          })
        );
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
          found.broken_at
            ? H.pill(t("chainBroken", found.broken_at), "failing")
            : H.pill(t("chainFine", H.num(found.lines)), ""),
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
