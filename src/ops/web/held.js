/* What needs a person: the list, and one item with its raw record beside what the mapping reads. Shows no key, and
   personal data only to a person who gives a reason. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    term = H.term,
    named = H.named,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var SHOWN = 100,
    WAITING = "waiting-for-parts",
    DOUBTS = ["another-person", "unreadable-event", "result-vanished", "group-unknown", "group-off"];
  var parts = null,
    items = [],
    filter = { reason: "", stream: "" };

  H.heldForPeople = function () {
    var kinds = now.report.store.held_open,
      n = 0,
      i;
    for (i = 0; i < kinds.length; i++) {
      n += kinds[i].reason === WAITING ? 0 : kinds[i].count;
    }
    return n;
  };
  function byReason() {
    var kinds = now.report.store.held_open,
      found = {},
      i;
    for (i = 0; i < kinds.length; i++) {
      found[kinds[i].reason] = (found[kinds[i].reason] || 0) + kinds[i].count;
    }
    return found;
  }
  function problems(done) {
    return done.problems
      .map(function (text) {
        return named("problems", text);
      })
      .join("; ");
  }
  function verbs(item) {
    var doubted = item.leg === "record" && DOUBTS.indexOf(item.reason) >= 0;
    if (item.state !== "open") {
      return [];
    }
    return ["withdrawal", "change", "start"].indexOf(item.leg) >= 0 || doubted
      ? ["release", "dismiss"]
      : ["retry", "dismiss"];
  }
  /* Retry, release or dismiss: one item, or all of a reason. */
  function act(place, verb, path, on, then) {
    H.form(place, {
      means: t(verb + "Means"),
      verb: t(verb),
      why: verb === "dismiss" ? t("because") : null,
      send: function (values, done) {
        var body = { who: values.who, because: values.because };
        if (on) {
          body.on = on;
        }
        H.post(path, body, done, function (found) {
          var text = t("done", found.settled, found.still_held) + " " + problems(found);
          if (found.still_held && !on) {
            done(text);
            return;
          }
          done();
          then(text);
        });
      }
    });
  }

  /* The list */
  function drawChips() {
    var place = clear(parts.chips),
      all = byReason(),
      names = Object.keys(all).sort();
    function chip(text, value) {
      put(
        place,
        H.button(
          text,
          function () {
            filter.reason = value;
            clear(parts.form);
            load();
          },
          filter.reason === value ? "on" : ""
        )
      );
    }
    if (filter.reason && !all[filter.reason]) {
      filter.reason = "";
    }
    if (names.length) {
      chip(t("everything") + " " + H.heldForPeople(), "");
    }
    names.forEach(function (name) {
      chip(named("reasons", name) + " " + all[name], name);
    });
    if (filter.reason && all[filter.reason] > 1) {
      put(
        place,
        H.act("operate", t("retryAll", all[filter.reason]), function () {
          act(parts.form, "retry", "/api/held/retry", { reason: filter.reason }, H.told);
        })
      );
    }
  }
  H.told = function (text) {
    H.notice(text);
    H.refresh();
  };
  function reasonCell(item) {
    var words = term("reasons", item.reason);
    return [
      H.link(words || item.reason, "held/" + item.id),
      el("div", (words ? item.reason + " · " : "") + "#" + item.id, "quiet"),
      item.waits_until ? el("div", t("waitsFor", H.time(item.waits_until)), "quiet") : null
    ];
  }
  function rowActs(item) {
    return verbs(item).map(function (verb) {
      return H.act("operate", t(verb), function () {
        act(parts.form, verb, "/api/held/" + item.id + "/" + verb, null, H.told);
      });
    });
  }
  function drawList(total) {
    put(
      clear(parts.list),
      H.table(
        [
          ["reason", "key", reasonCell],
          [
            "entity",
            "",
            function (item) {
              return named("entities", item.entity);
            }
          ],
          [
            "stream",
            "",
            function (item) {
              return item.stream;
            }
          ],
          [
            "opened",
            "t opt",
            function (item) {
              return H.time(item.opened_at);
            }
          ],
          [
            "age",
            "t",
            function (item) {
              return H.age(item.opened_at);
            }
          ],
          ["", "acts", rowActs]
        ],
        items,
        t("nothingHeld")
      )
    );
    if (items.length && items.length < total) {
      put(parts.list, el("p", t("shown", items.length, total), "hint"), H.button(t("moreHeld"), more));
    }
  }
  function path(after) {
    return (
      "/api/held?limit=" +
      SHOWN +
      "&after=" +
      after +
      (filter.reason ? "&reason=" + encodeURIComponent(filter.reason) : "")
    );
  }
  function total() {
    var all = byReason(),
      sum = 0,
      name;
    for (name in all) {
      sum += !filter.reason || filter.reason === name ? all[name] : 0;
    }
    return sum;
  }
  function load() {
    var mine = parts;
    drawChips();
    H.get(path(0), parts.list, function (found) {
      if (mine !== parts || parts.form.firstChild || items.length > SHOWN) {
        return;
      }
      items = found;
      drawList(total());
    });
  }
  function more() {
    var mine = parts;
    H.get(path(items[items.length - 1].id), parts.list, function (found) {
      if (mine !== parts) {
        return;
      }
      items = items.concat(found);
      drawList(total());
    });
  }

  /* One item */
  function findings(list) {
    return H.table(
      [
        [
          "severity",
          "",
          function (of) {
            return H.pill(named("severities", of.severity), of.severity === "hold" ? "attention" : "none");
          }
        ],
        [
          "message",
          "text",
          function (of) {
            return [el("div", named("reasons", of.code)), el("div", of.message, "quiet")];
          }
        ],
        [
          "place",
          "",
          function (of) {
            return el("code", of.path || "–");
          }
        ],
        [
          "value",
          "",
          function (of) {
            return el("code", of.source_value === undefined || of.source_value === null ? "–" : of.source_value);
          }
        ]
      ],
      list,
      t("none")
    );
  }
  /* What the mapping in force reads; a field that a finding is about stands out. */
  function understood(found) {
    var node = el("div"),
      doubted = {},
      i;
    (found.findings || []).forEach(function (of) {
      doubted[of.path] = true;
    });
    function isDoubted(made) {
      return doubted[made.path] ? "doubt" : "";
    }
    if (found.event) {
      return put(node, el("p", t("event"), "hint"), el("pre", JSON.stringify(found.event, null, 2)));
    }
    if (!found.understood) {
      return put(node, el("p", t(found.record ? "notRead" : "noRaw"), "empty"));
    }
    for (i = 0; i < found.understood.length; i++) {
      put(node, one(found.understood[i]));
    }
    function one(of) {
      var says =
        of.fate === "held"
          ? t("fateHeld", named("reasons", of.reason))
          : of.fate === "absent"
            ? t("fateAbsent", of.reason)
            : t("fateDeliver");
      return put(
        el("div", null, "understood"),
        put(el("p", null, "hint"), H.pill(named("entities", of.entity)), el("span", " " + says)),
        of.data
          ? el("pre", JSON.stringify(of.data, null, 2))
          : H.table(
              [
                [
                  "fieldRead",
                  "",
                  function (made) {
                    return el("code", made.path);
                  }
                ],
                [
                  "fromColumn",
                  "t",
                  function (made) {
                    return el("code", made.from);
                  }
                ],
                [
                  "readValue",
                  "",
                  function (made) {
                    return el("code", made.raw);
                  }
                ]
              ],
              of.read,
              t("none"),
              isDoubted
            )
      );
    }
    return node;
  }
  function history(list) {
    var node = el("ul", null, "history");
    list.forEach(function (line) {
      put(
        node,
        put(
          el("li"),
          el("span", H.time(line.at), "t"),
          el("b", line.who),
          el("span", named("acts", line.act)),
          el("span", line.detail, "quiet")
        )
      );
    });
    return node;
  }
  function drawItem(place, id, found, personal) {
    var item = found.item,
      forms = el("div"),
      bar = el("div", null, "bar");
    verbs(item).forEach(function (verb) {
      put(
        bar,
        H.act(
          "operate",
          t(verb),
          function () {
            act(forms, verb, "/api/held/" + id + "/" + verb, null, function (text) {
              now.kept = true;
              window.location.hash = "#/held";
              H.told(text);
            });
          },
          verb === "dismiss" ? "" : "main"
        )
      );
    });
    if (!personal) {
      put(
        bar,
        H.act("personal", t("unmask"), function () {
          H.unmask(forms, function (query) {
            showItem(clear(place), id, query);
          });
        })
      );
    }
    put(
      clear(place),
      H.link(t("back"), "held", "back"),
      put(
        H.card(
          named("reasons", item.reason),
          [item.reason, "#" + item.id, item.stream, t("opened") + " " + H.time(item.opened_at)].join(" · "),
          "at-item"
        ),
        put(
          el("p"),
          H.pill(named("itemStates", item.state), item.state === "open" ? "attention" : "none"),
          el("span", " "),
          H.pill(named("entities", item.entity)),
          el("span", " " + t(personal ? "unmasked" : "masked"), "quiet")
        ),
        bar,
        forms,
        el("h3", t("findings")),
        findings(found.findings || [])
      ),
      put(
        el("div", null, "pair"),
        put(
          H.card(t("raw"), null, "at-raw"),
          found.raw_text ? el("pre", found.raw_text) : el("p", t("noRaw"), "empty")
        ),
        put(H.card(t("normalised"), null, "at-normalised"), understood(found))
      ),
      put(
        H.card(t("history"), null, "at-history"),
        found.history.length ? history(found.history) : el("p", t("none"), "empty")
      )
    );
  }
  /* Asks why personal data is to be seen; `then` gets what goes into the question for it. */
  H.unmask = function (place, then) {
    H.form(place, {
      means: t("unmaskMeans"),
      verb: t("unmask"),
      why: t("unmaskWhy"),
      send: function (values, done) {
        done();
        then("?personal=" + encodeURIComponent(values.because) + "&who=" + encodeURIComponent(values.who));
      }
    });
  };
  function showItem(place, id, query) {
    put(place, el("p", t("loading"), "empty"));
    H.get("/api/held/" + encodeURIComponent(id) + (query || ""), place, function (found) {
      drawItem(place, id, found, !!query);
    });
  }

  H.pages.held = {
    word: "pHeld",
    count: function () {
      return H.heldForPeople();
    },
    show: function (place, rest) {
      parts = null;
      if (rest) {
        showItem(place, rest);
        return;
      }
      items = [];
      parts = { chips: el("div", null, "chips"), form: el("div"), list: el("div") };
      put(place, put(H.card(t("held_"), t("heldHint"), "at-held"), parts.chips, parts.form, parts.list));
      load();
    },
    tick: function () {
      if (parts && !parts.form.firstChild) {
        load();
      }
    }
  };
})();
