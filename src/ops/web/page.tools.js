/* What the parts of the page share: words, nodes, times, requests.
   Written for browsers of 2013 on: no build step, no modules, no fetch. Text of the agent only ever
   becomes text nodes. */
(function () {
  "use strict";
  var WORDS = window.HISYNC_WORDS;
  /* The language, the newest report, and who acts (kept for the session). */
  var now = { lang: "", report: null, who: "", me: null, proof: "1", touched: 0 };

  try {
    now.lang =
      (/[?&]lang=(zh|en)/.exec(window.location.search) || [])[1] || window.localStorage.getItem("lang");
    now.who = window.sessionStorage.getItem("who") || "";
  } catch (e) {
    /* private mode */
  }
  if (now.lang !== "zh" && now.lang !== "en") {
    now.lang = /^zh/i.test(navigator.language || "zh") ? "zh" : "en";
  }

  /* Words */
  function t(word, a, b, c, d) {
    var given = [a, b, c, d],
      text = WORDS[now.lang][word];
    return (text === undefined ? word : text).replace(/\{(\d)\}/g, function (_, n) {
      return given[n];
    });
  }
  function term(list, word) {
    var found = WORDS[now.lang][list][word];
    return found === undefined ? null : found;
  }
  function named(list, word) {
    return term(list, word) || word || "–";
  }
  function answer(code) {
    return term("answers", code) || term("answers", String(code).substring(0, 6));
  }

  /* Nodes */
  function id(name) {
    return document.getElementById(name);
  }
  function el(tag, text, cls) {
    var node = document.createElement(tag);
    if (text !== undefined && text !== null) {
      node.appendChild(document.createTextNode(String(text)));
    }
    if (cls) {
      node.className = cls;
    }
    return node;
  }
  function put(node) {
    for (var i = 1; i < arguments.length; i++) {
      if (arguments[i]) {
        node.appendChild(arguments[i]);
      }
    }
    return node;
  }
  function clear(node) {
    while (node.firstChild) {
      node.removeChild(node.firstChild);
    }
    return node;
  }
  function say(node, text) {
    clear(node).appendChild(document.createTextNode(text));
    return node;
  }
  function cell(row, text, cls) {
    var node = el("td", text, cls);
    row.appendChild(node);
    return node;
  }
  function button(text, act, cls) {
    var node = el("button", text, cls);
    node.type = "button";
    node.onclick = act;
    return node;
  }
  function head(table, words) {
    var row = el("tr"),
      i;
    for (i = 0; i < words.length; i++) {
      row.appendChild(el("th", words[i][0] ? t(words[i][0]) : "", words[i][1]));
    }
    clear(table.tHead).appendChild(row);
    return clear(table.tBodies[0]);
  }
  function empty(body, columns, text) {
    var row = el("tr");
    cell(row, text, "quiet").colSpan = columns;
    body.appendChild(row);
  }

  /* Times are the hospital's; where a browser knows no zones, its own. */
  function two(n) {
    return n < 10 ? "0" + n : "" + n;
  }
  function parts(at) {
    var found = null;
    try {
      found = /(\d+)\/(\d+)\/(\d+)\D+(\d+):(\d+):(\d+)/.exec(
        new Intl.DateTimeFormat("en-GB", {
          timeZone: now.report.agent.timezone,
          hour12: false,
          year: "numeric",
          month: "2-digit",
          day: "2-digit",
          hour: "2-digit",
          minute: "2-digit",
          second: "2-digit"
        })
          .format(at)
          .replace(/[\u200e\u200f]/g, "")
      );
    } catch (e) {
      found = null;
    }
    if (found) {
      return { day: found[2] + "-" + found[1], hour: two(found[4] % 24) + ":" + found[5] + ":" + found[6] };
    }
    return {
      day: two(at.getMonth() + 1) + "-" + two(at.getDate()),
      hour: two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds())
    };
  }
  function time(text) {
    if (!text) {
      return "–";
    }
    var at = parts(new Date(text)),
      today = parts(new Date(now.report.now));
    return at.day === today.day ? at.hour : at.day + " " + at.hour;
  }
  function age(text) {
    var secs = Math.max(0, Math.round((new Date(now.report.now) - new Date(text)) / 1000));
    if (secs < 120) {
      return t("sec", secs);
    }
    if (secs < 7200) {
      return t("min", Math.round(secs / 60));
    }
    return secs < 172800 ? t("hour", Math.round(secs / 3600)) : t("day", Math.round(secs / 86400));
  }
  function bytes(n) {
    return n === null
      ? "–"
      : n >= 1e9
        ? (n / 1e9).toFixed(n < 1e10 ? 1 : 0) + " GB"
        : (n / 1e6).toFixed(0) + " MB";
  }

  function request(method, path, body, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, path, true);
    xhr.timeout = 10000;
    xhr.setRequestHeader("X-Hisync", now.proof || "1");
    if (now.touched && new Date().getTime() - now.touched > 60000) {
      xhr.setRequestHeader("X-Hisync-Idle", "1");
    }
    if (body) {
      xhr.setRequestHeader("Content-Type", "application/json");
    }
    xhr.onreadystatechange = function () {
      if (xhr.readyState !== 4) {
        return;
      }
      var json = null;
      try {
        json = JSON.parse(xhr.responseText);
      } catch (e) {
        json = null;
      }
      done(xhr.status, json);
    };
    xhr.send(body ? JSON.stringify(body) : null);
  }

  window.HISYNC = {
    now: now,
    t: t,
    term: term,
    named: named,
    answer: answer,
    id: id,
    el: el,
    put: put,
    clear: clear,
    say: say,
    cell: cell,
    button: button,
    head: head,
    empty: empty,
    parts: parts,
    time: time,
    age: age,
    bytes: bytes,
    request: request
  };
})();
