/* Alerts: what lasts, what is silenced, who is told. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var LONGEST_HOURS = 720;
  var parts = null;

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
        var body = {
          code: alert.code,
          subject: alert.subject,
          secs: Math.round(values.hours * 3600),
          who: values.who,
          because: values.because
        };
        H.post("/api/alerts/silence", body, done, function () {
          done();
          H.pages.alerts.tick();
        });
      }
    });
  }
  function simple(means, verb, path, body) {
    H.form(parts.form, {
      means: t(means),
      verb: t(verb),
      send: function (values, done) {
        body.who = values.who;
        H.post(path, body, done, function () {
          done();
          H.pages.alerts.tick();
        });
      }
    });
  }
  /* Changes nothing, and is asked for by a click alone. */
  function trial(channel) {
    function failed(text) {
      put(clear(parts.form), el("p", text, "why"));
    }
    H.post("/api/alerts/test", { channel: channel }, failed, function () {
      clear(parts.form);
      H.notice(t("testSent"));
    });
  }
  function episodes(list, nothing, last) {
    return H.table(
      [
        [
          "",
          "",
          function (alert) {
            return H.pill(t(alert.reason.level), alert.closed_at ? "none" : alert.reason.level);
          }
        ],
        [
          "subject",
          "key",
          function (alert) {
            return [el("span", H.subject(alert.subject)), el("div", alert.code, "quiet")];
          }
        ],
        [
          "message",
          "text",
          function (alert) {
            return [
              H.sentence(el("div"), H.said(alert.reason, "text")),
              alert.closed_at ? null : H.sentence(el("div", "→ ", "quiet"), H.said(alert.reason, "next"))
            ];
          }
        ],
        [
          "opened",
          "t",
          function (alert) {
            return H.time(alert.opened_at);
          }
        ]
      ].concat(last),
      list,
      nothing
    );
  }
  function drawAlerts(found) {
    put(
      clear(parts.open),
      episodes(found.open, t("noAlerts"), [
        [
          "told",
          "t opt",
          function (alert) {
            return H.time(alert.told_at);
          }
        ],
        [
          "",
          "acts",
          function (alert) {
            return H.act("operate", t("silence"), function () {
              silence(alert);
            });
          }
        ]
      ])
    );
    put(
      clear(parts.silences),
      H.table(
        [
          [
            "subject",
            "key",
            function (one) {
              return [one.code, one.subject].filter(Boolean).join(" · ");
            }
          ],
          [
            "until",
            "t",
            function (one) {
              return H.time(one.until);
            }
          ],
          [
            "who_",
            "",
            function (one) {
              return one.who;
            }
          ],
          [
            "because",
            "text",
            function (one) {
              return one.because;
            }
          ],
          [
            "",
            "acts",
            function (one) {
              return H.act("operate", t("endIt"), function () {
                simple("endMeans", "endIt", "/api/alerts/silence/" + one.id + "/end", {});
              });
            }
          ]
        ],
        found.silences,
        t("noSilences")
      )
    );
    put(
      clear(parts.channels),
      H.table(
        [
          [
            "channels",
            "key",
            function (channel) {
              return [channel.id, el("div", channel.kind || "–", "quiet")];
            }
          ],
          [
            "state",
            "text",
            function (channel) {
              return channel.failure ? el("span", channel.failure, "why") : H.pill(t("chFine"), "");
            }
          ],
          [
            "waitingMsgs",
            "n",
            function (channel) {
              return channel.waiting;
            }
          ],
          [
            "",
            "acts",
            function (channel) {
              return H.act("operate", t("testIt"), function () {
                trial(channel.id);
              });
            }
          ]
        ],
        found.channels,
        t("noChannels")
      )
    );
    put(
      clear(parts.ended),
      episodes(found.ended.slice(0, 50), t("none"), [
        [
          "endedAt",
          "t",
          function (alert) {
            return H.time(alert.closed_at);
          }
        ]
      ])
    );
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
})();
