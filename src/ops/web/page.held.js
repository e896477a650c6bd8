/* What needs a person: the list, one item, and the form for each act. Shows no key, and personal data
   only to a person who gives a name and a reason. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now;
  var t = H.t,
    term = H.term,
    named = H.named,
    id = H.id,
    el = H.el,
    put = H.put,
    clear = H.clear,
    say = H.say,
    cell = H.cell,
    button = H.button,
    head = H.head,
    empty = H.empty,
    time = H.time,
    age = H.age,
    request = H.request;
  var SHOWN = 100;
  var items = [],
    reason = "",
    opened = null,
    notice = "";

  function openHeld() {
    var kinds = now.report.store.held_open,
      n = 0,
      i;
    for (i = 0; i < kinds.length; i++) {
      n += kinds[i].count;
    }
    return n;
  }

  /* Held items. While one is open the list stands still, so that nothing moves under the hand. */
  function drawHeld() {
    var kinds = now.report.store.held_open,
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
            H.refresh();
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
    for (i = 0; i < items.length; i++) {
      body.appendChild(heldRow(items[i]));
    }
    if (!items.length) {
      empty(body, 6, t("nothingHeld"));
    }
    var total = reason ? byReason[reason] : all;
    say(id("held-more"), items.length < total ? t("more", items.length, total) : "");
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
  function problems(done) {
    return done.problems
      .map(function (text) {
        return named("problems", text);
      })
      .join("; ");
  }
  function verbs(item) {
    var doubts = ["another-person", "unreadable-event", "result-vanished", "group-unknown", "group-off"];
    var doubted = item.leg === "record" && doubts.indexOf(item.reason) >= 0;
    if (["withdrawal", "change", "start"].indexOf(item.leg) >= 0 || doubted) { return ["release", "dismiss"]; }
    return ["retry", "dismiss"];
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
    H.refresh();
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
    name.value = now.who;
    name.disabled = !!(now.me && now.me.name);
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
        now.who = body.who;
        try {
          window.sessionStorage.setItem("who", now.who);
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
            say(wrong, t("done", found.settled, found.still_held) + " " + problems(found));
            return;
          }
          notice = t("done", found.settled, found.still_held) + " " + problems(found);
          opened = null;
          clear(place);
          H.refresh();
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
    (now.who && needsWhy ? why : now.who ? go : name).focus();
  }
  function trim(text) {
    return text.replace(/^\s+|\s+$/g, "");
  }

  /* Asks for the list; while somebody reads or types it stands still. */
  function refresh() {
    var only = reason ? "&reason=" + encodeURIComponent(reason) : "";
    request("GET", "/api/held?limit=" + SHOWN + only, null, function (status, found) {
      var bulk = id("bulk");
      if (status === 200 && found && !opened && !(bulk && bulk.firstChild)) {
        items = found;
        drawHeld();
      }
    });
  }
  document.onkeydown = function (event) {
    if (event.keyCode === 27 && opened) {
      shut();
    }
  };
  H.held = {
    count: openHeld,
    refresh: refresh,
    /* Closes what is open, e.g. because the language changes. */
    reset: function () {
      opened = null;
      notice = "";
      clear(id("reasons"));
    }
  };
})();
