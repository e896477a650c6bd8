/* The outbox, and the life of one record. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    named = H.named,
    answer = H.answer,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var WAITING = 50,
    RECENT = 50,
    NEWEST_EVENTS = 100000;
  var parts = null;

  /* Outbox */
  function kind(entry) {
    return named("entities", entry.entity) + " · " + (t(entry.kind) || entry.kind);
  }
  function said(entry) {
    return entry.last_code
      ? [entry.last_code, answer(entry.last_code) ? el("div", answer(entry.last_code), "quiet") : null]
      : "–";
  }
  function state(entry) {
    return H.pill(
      named("entry", entry.state),
      entry.state === "delivered" ? "" : entry.state === "held" ? "attention" : "none"
    );
  }
  function entries(list, nothing, last) {
    var id = [
      "eventId",
      "key",
      function (entry) {
        return [
          H.link(entry.event_id.substring(0, 13) + "…", "outbox/" + entry.id),
          el("div", entry.stream, "quiet")
        ];
      }
    ];
    return H.table(
      [
        id,
        ["entity", "", kind],
        ["state", "", state],
        [
          "made",
          "t",
          function (entry) {
            return H.time(entry.created_at);
          }
        ],
        [
          "attempts",
          "n",
          function (entry) {
            return entry.attempts;
          }
        ]
      ].concat(last, [["code", "text", said]]),
      list,
      nothing
    );
  }
  function drawUpstream(place) {
    var up = now.report.upstream,
      closed = up.breaker.state === "closed",
      failed = up.last_failure;
    put(
      clear(place),
      H.facts([
        [
          t("upstreamState"),
          H.pill(t(closed ? "up" : up.breaker.state === "open" ? "down" : "probing"), closed ? "" : "failing")
        ],
        [t("delivered"), up.last_success ? t("lastDelivered", H.time(up.last_success)) : t("never")],
        [
          t("lastFailure"),
          failed ? H.time(failed.at) + " · " + failed.code + " · " + (answer(failed.code) || failed.text) : t("none")
        ],
        [t("retryAt"), H.time(up.breaker.retry_at)],
        [t("inFlight"), up.in_flight + up.waiting],
        [
          t("filesState"),
          H.pill(
            t(up.attachments.breaker.state === "closed" ? "up" : "down"),
            up.attachments.breaker.state === "closed" ? "" : "failing"
          )
        ]
      ]),
      closed
        ? null
        : H.act("operate", t("retryNow"), function () {
            H.form(parts.form, {
              means: t("retryNowMeans"),
              verb: t("retryNow"),
              send: function (values, done) {
                H.post("/api/upstream/reset", values, done, function () {
                  done();
                  H.refresh();
                });
              }
            });
          })
    );
  }
  function drawEntry(place, id, found, personal) {
    var entry = found.entry,
      form = el("div"),
      attempts = found.history.map(function (one) {
        return [H.time(one.at), one.code + (answer(one.code) ? " · " + answer(one.code) : "")];
      });
    put(
      clear(place),
      H.link(t("back"), "outbox", "back"),
      put(
        H.card(kind(entry), entry.event_id, "at-entry"),
        H.facts([
          [t("state"), state(entry)],
          [t("stream"), entry.stream],
          [t("made"), H.time(entry.created_at)],
          [t("attempts"), entry.attempts],
          [t("due"), H.time(entry.next_try_at)],
          [t("doneAt"), H.time(entry.done_at)],
          [t("size"), H.num(entry.size_bytes) + " B"],
          [t("mapping"), el("code", entry.mapping_version || "–")]
        ])
      ),
      put(H.card(t("attemptsOf")), attempts.length ? H.facts(attempts) : el("p", t("noAttempts"), "empty")),
      put(
        H.card(t("eventData"), t(personal ? "unmasked" : "masked"), "at-event"),
        personal
          ? null
          : H.act("personal", t("unmask"), function () {
              H.unmask(form, function (query) {
                showEntry(clear(place), id, query);
              });
            }),
        form,
        el("pre", JSON.stringify(found.event, null, 2))
      )
    );
  }
  function showEntry(place, id, query) {
    H.get("/api/outbox/" + encodeURIComponent(id) + (query || ""), place, function (found) {
      drawEntry(place, id, found, !!query);
    });
  }
  H.pages.outbox = {
    word: "pOutbox",
    show: function (place, rest) {
      parts = null;
      if (rest) {
        showEntry(place, rest);
        return;
      }
      parts = { upstream: el("div"), form: el("div"), open: el("div"), recent: el("div") };
      put(
        place,
        put(H.card(t("s4"), null, "at-upstream"), parts.upstream, parts.form),
        put(H.card(t("outbox"), t("outboxHint"), "at-outbox"), parts.open),
        put(H.card(t("recent"), null, "at-recent"), parts.recent)
      );
      H.pages.outbox.tick();
    },
    tick: function () {
      var mine = parts,
        depth = now.report.store.outbox_depth;
      if (!parts) {
        return;
      }
      if (!parts.form.firstChild) {
        drawUpstream(parts.upstream);
      }
      H.get("/api/outbox?limit=" + WAITING, parts.open, function (found) {
        put(
          clear(mine.open),
          entries(found, t("nothingOut"), [
            [
              "due",
              "t",
              function (entry) {
                return H.time(entry.next_try_at);
              }
            ]
          ]),
          found.length < depth ? el("p", t("outboxMore", found.length, depth), "hint") : null
        );
      });
      H.get("/api/outbox/recent?limit=" + RECENT, parts.recent, function (found) {
        put(
          clear(mine.recent),
          entries(found, t("s2none"), [
            [
              "doneAt",
              "t",
              function (entry) {
                return H.time(entry.done_at);
              }
            ]
          ])
        );
      });
    }
  };

  /* The life of a record */
  function step(name, at, text, level) {
    return put(
      el("li", null, level || ""),
      el("span", H.time(at), "t"),
      el("b", t(name)),
      text ? H.add(el("span", null, "quiet"), text) : null
    );
  }
  function life(version, n) {
    var entry = version.entry,
      steps = el("ul", null, "life"),
      done = entry.state === "delivered",
      took = done && version.received_at ? new Date(entry.done_at) - new Date(version.received_at) : null;
    if (version.received_at) {
      put(
        steps,
        step("lReceived", version.received_at, [entry.stream, " · ", el("code", "archive:" + entry.archive_id)])
      );
    }
    put(
      steps,
      step("lMapped", entry.created_at, el("code", entry.mapping_version || "–")),
      step("lQueued", entry.created_at, H.link(entry.event_id, "outbox/" + entry.id))
    );
    version.history.forEach(function (attempt) {
      put(
        steps,
        put(
          el("li", null, "bad"),
          el("span", H.time(attempt.at), "t"),
          el("b", t("lAttempt", attempt.n)),
          el("span", answer(attempt.code) || attempt.code, "quiet")
        )
      );
    });
    if (done) {
      put(steps, step("lDelivered", entry.done_at, took === null ? "" : t("tookAll", H.lasts(took)), "good"));
    } else {
      put(
        steps,
        step(
          entry.state === "held" ? "lHeld" : "lWaiting",
          entry.done_at || entry.next_try_at,
          named("entry", entry.state),
          "bad"
        )
      );
    }
    return put(
      el("div", null, "version"),
      el("h3", t("versionN", n) + " · " + (t(entry.kind) || entry.kind)),
      steps,
      version.changes && version.changes.length
        ? el("p", t("changesOf") + ": " + version.changes.join(", "), "quiet")
        : null
    );
  }
  function heldList(items) {
    var list = el("ul", null, "history");
    items.forEach(function (item) {
      put(
        list,
        put(
          el("li"),
          el("span", H.time(item.opened_at), "t"),
          H.link(named("reasons", item.reason), "held/" + item.id),
          H.pill(named("itemStates", item.state), item.state === "open" ? "attention" : "none")
        )
      );
    });
    return list;
  }
  function entity(of) {
    var state = { present: "stPresent", withdrawn: "stWithdrawn", never: "stNever" }[of.state],
      node = put(
        H.card(named("entities", of.entity)),
        put(el("p"), H.pill(t(state) || of.state, of.state === "present" ? "" : "none"))
      );
    of.versions.forEach(function (version, i) {
      put(node, life(version, i + 1));
    });
    if (of.held.length) {
      put(node, el("h3", t("held_")), heldList(of.held));
    }
    put(
      node,
      el("h3", t("partsOf")),
      H.table(
        [
          [
            "stream",
            "key",
            function (part) {
              return part.stream;
            }
          ],
          [
            "lastRecord",
            "t",
            function (part) {
              return H.time(part.received_at);
            }
          ],
          [
            "mapping",
            "text",
            function (part) {
              return el("code", part.mapping_version || "–");
            }
          ],
          [
            "digest",
            "text opt",
            function (part) {
              return el("code", part.raw_digest.substring(0, 19) + "…");
            }
          ]
        ],
        of.parts,
        t("none")
      )
    );
    return node;
  }
  function look(place, needle) {
    put(clear(place), el("p", t("loading"), "empty"));
    H.get("/api/explain?newest=" + NEWEST_EVENTS + "&q=" + encodeURIComponent(needle), place, function (found) {
      clear(place);
      found.entities.forEach(function (of) {
        put(place, entity(of));
      });
      if (found.held.length) {
        put(place, put(H.card(t("held_")), heldList(found.held)));
      }
      if (!found.entities.length && !found.held.length) {
        put(place, el("p", t("notFound", needle), "empty"));
      }
    });
  }
  H.pages.find = {
    word: "pFind",
    show: function (place) {
      var form = el("form", null, "find"),
        input = el("input"),
        go = el("button", t("find_"), "main"),
        found = el("div");
      input.name = "needle";
      input.type = "search";
      input.autocomplete = "off";
      input.setAttribute("aria-label", t("findTitle"));
      go.type = "submit";
      /* What is looked for may be a person's number: it goes into no address and no history. */
      form.onsubmit = function () {
        if (H.trim(input.value)) {
          look(found, H.trim(input.value));
        }
        return false;
      };
      put(place, put(H.card(t("findTitle"), t("findHint"), "at-find"), put(form, input, go)), found);
      input.focus();
    }
  };
})();
