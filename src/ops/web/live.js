/* What is changed while the agent runs: switches, and the configuration loaded again. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var HOUR = 3600;

  function values(of) {
    var kind = of.kind;
    if (kind.type === "bool") {
      return ["on", "off"];
    }
    return kind.type === "text" ? kind.words : null;
  }
  function subjects() {
    var found = [["", t("swAll")]],
      seen = {};
    now.report.streams.forEach(function (stream) {
      var source = stream.id.split("/")[0];
      if (!seen[source]) {
        seen[source] = true;
        found.push([source, source]);
      }
      found.push([stream.id, stream.id]);
    });
    return found;
  }
  function pairs(list) {
    return list.map(function (word) {
      return [word, word];
    });
  }
  function set(form, list, of) {
    var choose = values(of),
      fields = [
        choose
          ? { name: "value", label: t("swValue"), choose: pairs(choose) }
          : { name: "value", label: t("swValue") },
        { name: "hours", label: t("hoursFor"), value: "4" }
      ];
    if (of.scope === "source") {
      fields.unshift({ name: "subject", label: t("swAbout"), choose: subjects() });
    }
    H.form(form, {
      means:
        of.name +
        " · " +
        H.said(of, "title") +
        ". " +
        t("swSetMeans", H.lasts(of.longest_secs * 1000)) +
        (of.owner === "hospital" ? " " + t("swOwner") + "." : ""),
      verb: t("swSet"),
      why: t("because"),
      fields: fields,
      check: function (given) {
        return +given.hours > 0 && given.hours * HOUR <= of.longest_secs
          ? ""
          : t("swSetMeans", H.lasts(of.longest_secs * 1000));
      },
      send: function (given, done) {
        var until = new Date(new Date(now.report.now).getTime() + given.hours * HOUR * 1000).toISOString(),
          body = {
            value: given.value,
            subject: given.subject || null,
            until: until,
            who: given.who,
            because: given.because
          };
        H.post("/api/switches/" + of.name, body, done, function (found) {
          done();
          draw(form, list, found);
          H.refresh();
        });
      }
    });
  }
  function take(form, list, of, setting) {
    H.form(form, {
      means: of.name + (setting.subject ? " · " + setting.subject : "") + " — " + t("swClearMeans"),
      verb: t("swClear"),
      send: function (given, done) {
        H.post(
          "/api/switches/" + of.name,
          { value: null, subject: setting.subject || null, who: given.who },
          done,
          function (found) {
            done();
            draw(form, list, found);
            H.refresh();
          }
        );
      }
    });
  }
  function state(form, list) {
    return function (of) {
      return of.set.length
        ? of.set.map(function (setting) {
            return put(
              el("div"),
              H.pill((setting.subject ? setting.subject + ": " : "") + setting.value, "attention"),
              el(
                "span",
                " " + t("until") + " " + H.time(setting.until) + " · " + setting.who + ": " + setting.because + " ",
                "quiet"
              ),
              H.act("operate", t("swClear"), function () {
                take(form, list, of, setting);
              })
            );
          })
        : el("span", t("swDefault", of["default"]), "quiet");
    };
  }
  function draw(form, list, found) {
    put(
      clear(list),
      H.table(
        [
          [
            "swTitle",
            "key",
            function (of) {
              return [el("span", of.name), el("div", H.said(of, "title"), "quiet")];
            }
          ],
          ["swNow", "text", state(form, list)],
          [
            "",
            "acts",
            function (of) {
              return H.act("operate", t("swSet"), function () {
                set(form, list, of);
              });
            }
          ]
        ],
        found,
        t("none")
      )
    );
  }
  H.switches = function () {
    var form = el("div"),
      list = el("div");
    H.get("/api/switches", list, function (found) {
      draw(form, list, found);
    });
    return put(H.card(t("swTitle"), t("swHint"), "at-switches"), form, list);
  };

  function outcome(place, found) {
    var lines = el("ul", null, "history");
    found.parts.forEach(function (part) {
      put(
        lines,
        put(
          el("li"),
          el("b", part.part),
          el("span", part.effect),
          el("span", (part.because || []).join(", "), "quiet")
        )
      );
    });
    found.troubles.concat(found.notes).forEach(function (text) {
      put(lines, el("li", text));
    });
    put(
      clear(place),
      put(
        el("p"),
        H.pill(H.named("verdicts", found.verdict), /refused|rolled/.test(found.verdict) ? "failing" : "none"),
        el("span", " " + (found.changed.join(", ") || t("rlNothing")), "quiet")
      ),
      lines,
      found.text ? el("pre", found.text) : null
    );
  }
  function ask(form, place, dry) {
    H.form(form, {
      means: t(dry ? "rlDryMeans" : "rlAskMeans"),
      verb: t(dry ? "rlDry" : "rlAsk"),
      send: function (given, done) {
        H.post("/api/reload", { dry_run: dry, who: given.who }, done, function (found) {
          done();
          outcome(place, found);
          H.refresh();
        });
      }
    });
  }
  H.reloading = function () {
    var form = el("div"),
      place = el("div");
    return put(
      H.card(t("rlTitle"), t("rlHint"), "at-reload"),
      put(
        el("div", null, "bar"),
        H.act("operate", t("rlDry"), function () {
          ask(form, place, true);
        }),
        H.act("operate", t("rlAsk"), function () {
          ask(form, place, false);
        })
      ),
      form,
      place
    );
  };
})();
