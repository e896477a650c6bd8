/* Streams and sources: how they stand, breakers, probes, and what is usual at each hour. */
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
    opened = null;

  function progress(id) {
    var streams = now.report.store.streams,
      i;
    for (i = 0; i < streams.length; i++) {
      if (streams[i].stream === id) {
        return streams[i];
      }
    }
    return { records: 0, snapshots: 0, last_received_at: null, watermark: null };
  }
  function find(id) {
    for (var i = 0; i < now.report.streams.length; i++) {
      if (now.report.streams[i].id === id) {
        return now.report.streams[i];
      }
    }
    return null;
  }
  function way(stream) {
    var words = [stream.connector, H.term("modes", stream.mode) || stream.mode];
    return words.concat(stream.endpoint ? t("listensAt", stream.endpoint) : []).join(" · ");
  }
  function failure(stream) {
    var failed = stream.failure;
    /* Where the standing says it already, once is enough. */
    return (
      failed &&
      stream.health.text.indexOf(failed.message) < 0 && [
        el("div", named("classes", failed.class) + ": " + failed.message, "why"),
        failed.hint ? el("div", "→ " + failed.hint, "quiet") : null
      ]
    );
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
              return [H.link(stream.id, "streams/" + stream.id), el("div", way(stream), "quiet")];
            }
          ],
          [
            "entity",
            "opt",
            function (stream) {
              return named("entities", stream.entity);
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
              return [H.whyNext(stream.health), failure(stream)];
            }
          ],
          [
            "lastRecord",
            "t",
            function (stream) {
              return H.time(progress(stream.id).last_received_at);
            }
          ],
          [
            "nextRead",
            "t opt",
            function (stream) {
              return H.time(stream.next_at);
            }
          ],
          [
            "records",
            "n",
            function (stream) {
              return H.num(progress(stream.id).records);
            }
          ]
        ],
        H.worstFirst(now.report.streams),
        t("none")
      )
    );
  }

  function breakerPill(breaker) {
    var closed = breaker.state === "closed";
    return H.pill(t(closed ? "bClosed" : breaker.state === "open" ? "bOpen" : "bHalf"), closed ? "" : "failing");
  }
  function resetSource(id) {
    H.form(parts.form, {
      means: t("resetMeans"),
      verb: t("reset") + " " + id,
      send: function (values, done) {
        H.post("/api/sources/" + encodeURIComponent(id) + "/reset", values, done, function () {
          done();
          H.refresh();
        });
      }
    });
  }
  function drawSources(place) {
    put(
      clear(place),
      H.table(
        [
          [
            "sources",
            "key",
            function (source) {
              return [source.id, el("div", source.connector, "quiet")];
            }
          ],
          [
            "breaker",
            "",
            function (source) {
              return breakerPill(source.breaker);
            }
          ],
          [
            "reason",
            "",
            function (source) {
              return source.breaker.code ? named("classes", source.breaker.code) : "–";
            }
          ],
          [
            "opened",
            "t",
            function (source) {
              return H.time(source.breaker.since);
            }
          ],
          [
            "retryAt",
            "t opt",
            function (source) {
              return H.time(source.breaker.retry_at);
            }
          ],
          [
            "failingStreams",
            "text",
            function (source) {
              return source.failing.join(", ") || "–";
            }
          ],
          [
            "",
            "acts",
            function (source) {
              return H.act("operate", t("reset"), function () {
                resetSource(source.id);
              });
            }
          ]
        ],
        now.report.sources,
        t("none")
      )
    );
  }

  function clock(ms) {
    return ms === null ? "–" : (ms > 0 ? "+" : "") + (ms / 1000).toFixed(1) + " s";
  }
  function drawProbes(place) {
    var probed = now.report.streams.filter(function (stream) {
      return stream.probe;
    });
    put(
      clear(place),
      H.table(
        [
          [
            "stream",
            "key",
            function (stream) {
              return stream.id;
            }
          ],
          [
            "probedAt",
            "t",
            function (stream) {
              return H.time(stream.probe.at);
            }
          ],
          [
            "server",
            "text",
            function (stream) {
              return stream.probe.failure
                ? el("span", stream.probe.failure.message, "why")
                : stream.probe.server || "–";
            }
          ],
          [
            "newestRow",
            "t",
            function (stream) {
              return stream.probe.newest || "–";
            }
          ],
          [
            "readTo",
            "t opt",
            function (stream) {
              return progress(stream.id).watermark || "–";
            }
          ],
          [
            "clockOff",
            "n",
            function (stream) {
              return clock(stream.probe.clock_difference_ms);
            }
          ]
        ],
        probed,
        t("noProbe")
      )
    );
  }

  function facts(rows) {
    var node = el("dl", null, "facts");
    rows.forEach(function (row) {
      put(node, el("dt", row[0]), H.add(el("dd"), row[1]));
    });
    return node;
  }
  H.facts = facts;
  function drawOne(place, stream) {
    var stored = progress(stream.id);
    put(
      clear(place),
      put(el("p"), H.standing(stream.health)),
      put(H.add(el("div", null, "say"), H.whyNext(stream.health))),
      H.add(el("div"), failure(stream)),
      facts([
        [t("entity"), named("entities", stream.entity)],
        [t("source"), way(stream)],
        [t("mapping"), el("code", stream.mapping_version)],
        [t("lastRecord"), H.time(stored.last_received_at)],
        [t("readTo"), stored.watermark || "–"],
        [t("nextRead"), H.time(stream.next_at)],
        [t("records"), H.num(stored.records) + (stored.snapshots ? " · " + t("snapshots", stored.snapshots) : "")],
        [
          t("probe"),
          stream.probe
            ? H.time(stream.probe.at) +
              " · " +
              ((stream.probe.failure && stream.probe.failure.message) || stream.probe.newest || "–")
            : t("noProbe")
        ]
      ])
    );
  }
  function drawHours(place, found) {
    var known = false,
      expect = found.expect;
    found.hours.forEach(function (hour) {
      known = known || hour.usual !== null;
    });
    put(
      clear(place),
      el(
        "p",
        expect ? t("expects", expect.from, expect.to, H.lasts(expect.within_secs * 1000)) : t("noExpect"),
        "hint"
      ),
      H.hoursChart(found.hours),
      known ? null : el("p", t("noHours"), "hint")
    );
  }
  function showOne(place, id) {
    var stream = find(id),
      hours = el("div");
    opened = id;
    parts = { one: el("div") };
    put(
      place,
      H.link(t("back"), "streams", "back"),
      put(H.card(id), parts.one),
      put(H.card(t("hoursOf"), t("hoursHint"), "at-hours"), hours)
    );
    if (!stream) {
      parts.one.appendChild(el("p", t("notFound", id), "empty"));
      return;
    }
    drawOne(parts.one, stream);
    H.get("/api/streams/" + id + "/hours", hours, function (found) {
      drawHours(hours, found);
    });
  }

  H.pages.streams = {
    word: "pStreams",
    show: function (place, rest) {
      if (rest) {
        showOne(place, rest);
        return;
      }
      opened = null;
      parts = { streams: el("div"), sources: el("div"), form: el("div"), probes: el("div") };
      put(
        place,
        put(H.card(t("streams"), t("streamsHint"), "at-streams"), parts.streams),
        put(H.card(t("sources"), t("sourcesHint"), "at-sources"), parts.sources, parts.form),
        put(H.card(t("probe"), t("probeHint"), "at-probes"), parts.probes)
      );
      H.pages.streams.tick();
    },
    tick: function () {
      if (opened) {
        if (find(opened)) {
          drawOne(parts.one, find(opened));
        }
        return;
      }
      drawStreams(parts.streams);
      drawSources(parts.sources);
      drawProbes(parts.probes);
    }
  };
})();
