/* Local codes that no table knows, and mapping them in place. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var CODES = 200,
    COUNTED = 1000;
  var parts = null,
    tables = [];

  function words(code) {
    for (var i = 0; i < tables.length; i++) {
      if (tables[i].stream === code.stream && tables[i].table === code.table) {
        return tables[i];
      }
    }
    return { editable: true, standards: [] };
  }
  function mapCode(code) {
    H.form(parts.form, {
      means: code.table + " · " + code.value + " — " + t("mapMeans"),
      verb: t("mapIt"),
      fields: [
        { name: "standard", label: t("standsFor"), words: words(code).standards },
        { name: "name", label: t("calledThere") }
      ],
      check: function (values) {
        return values.standard ? "" : t("chooseWord");
      },
      send: function (values, done) {
        var body = { table: code.table, local: code.value, standard: values.standard, stream: code.stream };
        if (values.name) {
          body.name = values.name;
        }
        H.post("/api/codes/map", { who: values.who, code: body }, done, function (found) {
          done();
          H.told(t("mapped", found.file.replace(/^.*[\\/]/, ""), found.concerned));
        });
      }
    });
  }
  function codeAct(code) {
    if (!code.table) {
      return el("span", t("noTable"), "quiet");
    }
    if (!words(code).editable) {
      return el("span", t("inlineTable"), "quiet");
    }
    return H.act("operate", t("mapIt"), function () {
      mapCode(code);
    });
  }
  function upTo(n) {
    return n >= COUNTED ? H.num(n) + "+" : H.num(n);
  }
  function drawCodes(list) {
    list.sort(function (a, b) {
      return b.count - a.count || a.id - b.id;
    });
    put(
      clear(parts.list),
      H.table(
        [
          [
            "code_",
            "key",
            function (code) {
              return [el("code", code.value, "code"), el("div", code.stream, "quiet")];
            }
          ],
          [
            "table_",
            "",
            function (code) {
              return code.table || "–";
            }
          ],
          [
            "column_",
            "text",
            function (code) {
              return [el("span", code.source_field || "–"), el("div", code.path, "quiet")];
            }
          ],
          [
            "count_",
            "n",
            function (code) {
              return upTo(code.count);
            }
          ],
          [
            "heldOf",
            "n",
            function (code) {
              return el("span", upTo(code.held), code.held ? "some" : "zero");
            }
          ],
          [
            "firstSeen",
            "t opt",
            function (code) {
              return H.time(code.first_seen_at);
            }
          ],
          [
            "lastSeen",
            "t",
            function (code) {
              return H.time(code.last_seen_at);
            }
          ],
          [
            "sample_",
            "",
            function (code) {
              return code.sample_held_id
                ? H.link("#" + code.sample_held_id, "held/" + code.sample_held_id)
                : el("code", "archive:" + code.sample_archive_id);
            }
          ],
          ["", "acts", codeAct]
        ],
        list,
        t("noCodes")
      )
    );
  }
  H.pages.codes = {
    word: "pCodes",
    count: function () {
      return now.report.ageing.unmapped_codes;
    },
    show: function (place) {
      parts = { form: el("div"), list: el("div") };
      put(place, put(H.card(t("codesTitle"), t("codesHint"), "at-codes"), parts.form, parts.list));
      H.get("/api/codes/tables", parts.list, function (found) {
        tables = found;
        H.pages.codes.tick();
      });
    },
    tick: function () {
      var mine = parts;
      if (parts.form.firstChild) {
        return;
      }
      H.get("/api/codes?lately=" + CODES, parts.list, function (found) {
        if (mine === parts && !parts.form.firstChild) {
          drawCodes(found);
        }
      });
    }
  };
})();
