/* The configuration in force, its history, and what changed. */
(function () {
  "use strict";
  var H = window.HISYNC,
    t = H.t,
    el = H.el,
    put = H.put,
    clear = H.clear;
  var WORD = /^[A-Za-z0-9_-]+$/;

  function key(name) {
    return WORD.test(name) ? name : JSON.stringify(name);
  }
  function isTable(value) {
    return value !== null && typeof value === "object" && !(value instanceof Array);
  }
  function isTables(value) {
    return value instanceof Array && value.length > 0 && value.every(isTable);
  }
  function inline(value) {
    if (value instanceof Array) {
      return "[" + value.map(inline).join(", ") + "]";
    }
    if (isTable(value)) {
      return (
        "{ " +
        Object.keys(value)
          .map(function (name) {
            return key(name) + " = " + inline(value[name]);
          })
          .join(", ") +
        " }"
      );
    }
    return JSON.stringify(value);
  }
  /* The lines as a person writes the file: plain keys first, then tables. Short tables stay on one line. */
  function lines(table, path, out) {
    var names = Object.keys(table),
      later = [];
    names.forEach(function (name) {
      var value = table[name];
      if (isTables(value) || (isTable(value) && inline(value).length > 90) || (!path && isTable(value))) {
        later.push(name);
      } else {
        out.push(key(name) + " = " + inline(value));
      }
    });
    later.forEach(function (name) {
      var below = path ? path + "." + key(name) : key(name);
      [].concat(table[name]).forEach(function (one) {
        if (out.length) {
          out.push("");
        }
        out.push(isTables(table[name]) ? "[[" + below + "]]" : "[" + below + "]");
        lines(one, below, out);
      });
    });
    return out;
  }
  /* The shortest way from some lines to others: [sign, line]. */
  function difference(before, after) {
    var longest = [],
      found = [],
      i,
      k;
    for (i = before.length; i >= 0; i--) {
      longest[i] = [];
      for (k = after.length; k >= 0; k--) {
        longest[i][k] =
          i === before.length || k === after.length
            ? 0
            : before[i] === after[k]
              ? longest[i + 1][k + 1] + 1
              : Math.max(longest[i + 1][k], longest[i][k + 1]);
      }
    }
    i = k = 0;
    while (i < before.length || k < after.length) {
      if (i < before.length && k < after.length && before[i] === after[k]) {
        found.push([" ", after[k]]);
        i += 1;
        k += 1;
      } else if (k === after.length || (i < before.length && longest[i + 1][k] >= longest[i][k + 1])) {
        found.push(["-", before[i++]]);
      } else {
        found.push(["+", after[k++]]);
      }
    }
    return found;
  }
  function written(content) {
    var node = el("pre", null, "written");
    lines(content, "", []).forEach(function (line) {
      put(node, el("span", line + "\n", line.charAt(0) === "[" ? "head" : ""));
    });
    return node;
  }
  function changes(found) {
    var node = el("pre", null, "written"),
      list = difference(lines(found.before, "", []), lines(found.content, "", [])),
      changed = false;
    list.forEach(function (line, i) {
      var near = list.slice(Math.max(0, i - 2), i + 3).some(function (other) {
        return other[0] !== " ";
      });
      changed = changed || line[0] !== " ";
      if (near) {
        put(
          node,
          el("span", line[0] + " " + line[1] + "\n", line[0] === "+" ? "plus" : line[0] === "-" ? "minus" : "")
        );
      }
    });
    return changed ? node : el("p", t("noChange"), "empty");
  }
  function changed(one) {
    var list = (one.detail && one.detail.changed) || [];
    return list.length > 3 ? list.slice(0, 3).join(", ") + " …" : list.join(", ") || "–";
  }
  function showOne(place, id) {
    H.get("/api/config/" + encodeURIComponent(id), place, function (found) {
      put(
        clear(place),
        H.link(t("back"), "config", "back"),
        put(
          H.card(
            t("changedAt", H.time(found.since)),
            t("digest") + " " + found.digest.substring(0, 12) + " · " + found.who,
            "at-change"
          ),
          found.content && found.before ? changes(found) : el("p", t("firstKept"), "empty")
        ),
        found.content ? put(H.card(t("config")), written(found.content)) : null
      );
    });
  }
  function draw(place, found) {
    put(
      clear(place),
      H.switches(),
      H.reloading(),
      put(
        H.card(t("configHistory"), null, "at-history"),
        H.table(
          [
            [
              "loadedAt",
              "t",
              function (one) {
                return H.time(one.since);
              }
            ],
            [
              "digest",
              "key",
              function (one) {
                return [
                  el("code", one.digest.substring(0, 12)),
                  one.digest === found.digest ? H.pill(t("currentWord"), "") : null
                ];
              }
            ],
            [
              "byWhom",
              "",
              function (one) {
                return one.who;
              }
            ],
            ["changedWhat", "text", changed],
            [
              "",
              "acts",
              function (one) {
                return H.link(t("compareIt"), "config/" + one.id);
              }
            ]
          ],
          found.history,
          t("none")
        )
      ),
      put(H.card(t("configTitle"), t("configHint"), "at-config"), written(found.content)),
      put(
        H.card(t("mappingsOf"), null, "at-mappings"),
        H.table(
          [
            [
              "stream",
              "key",
              function (one) {
                return one.stream;
              }
            ],
            [
              "mapping",
              "text",
              function (one) {
                return el("code", one.version);
              }
            ]
          ],
          found.mappings,
          t("none")
        )
      )
    );
  }
  H.pages.config = {
    word: "pConfig",
    show: function (place, rest) {
      put(place, el("p", t("loading"), "empty"));
      if (rest) {
        showOne(place, rest);
        return;
      }
      H.get("/api/config", place, function (found) {
        draw(place, found);
      });
    }
  };
})();
