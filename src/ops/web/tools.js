/* What the parts of the page share: words, nodes, times, requests.
   Written for browsers of 2013 on: no build step, no modules, no fetch. Text of the agent only ever
   becomes text nodes. */
(function () {
  "use strict";
  var WORDS = window.HISYNC_WORDS;
  /* The language, the newest report, and who acts (kept for the session). */
  var now = { lang: "", report: null, who: "", me: null, proof: "1", touched: 0 };

  try {
    now.lang = (/[?&]lang=(zh|en)/.exec(window.location.search) || [])[1] || window.localStorage.getItem("lang");
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
    var found = WORDS.codes[now.lang][list][word];
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
  function button(text, act, cls) {
    var node = el("button", text, cls);
    node.type = "button";
    node.onclick = act;
    return node;
  }
  function link(text, where, cls) {
    var node = el("a", text, cls);
    node.href = "#/" + where;
    return node;
  }
  function pill(text, level) {
    return el("span", text, "pill " + (level === undefined ? "none" : level));
  }
  /* A card with a heading, a hint and whatever else is put into it. */
  function card(title, hint, name) {
    var node = put(el("section", null, "card"), el("h2", title), hint && el("p", hint, "hint"));
    if (name) {
      node.id = name;
    }
    return node;
  }
  function add(node, what) {
    var i;
    if (what === undefined || what === null || what === false) {
      return node;
    }
    if (what instanceof Array) {
      for (i = 0; i < what.length; i++) {
        add(node, what[i]);
      }
      return node;
    }
    node.appendChild(what.nodeType ? what : document.createTextNode(String(what)));
    return node;
  }
  /* A table. Each column: its word, its class, and what stands in it for an item. */
  function table(columns, items, nothing, rowClass) {
    var node = el("table"),
      top = el("tr"),
      body = el("tbody"),
      i,
      c,
      row,
      td;
    for (c = 0; c < columns.length; c++) {
      top.appendChild(el("th", columns[c][0] ? t(columns[c][0]) : "", columns[c][1]));
    }
    for (i = 0; i < items.length; i++) {
      row = el("tr", null, rowClass && rowClass(items[i]));
      for (c = 0; c < columns.length; c++) {
        td = el("td", null, columns[c][1]);
        if (columns[c][0]) {
          td.setAttribute("data-l", t(columns[c][0]));
        }
        row.appendChild(add(td, columns[c][2](items[i])));
      }
      body.appendChild(row);
    }
    if (!items.length) {
      return el("p", nothing, "empty");
    }
    return put(el("div", null, "wide"), put(node, put(el("thead"), top), body));
  }
  function num(n) {
    return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  }
  function trim(text) {
    return text.replace(/^\s+|\s+$/g, "");
  }
  /* What a reason or an alert is about. */
  function subject(text) {
    var found = /^(stream|source) (.+)$/.exec(text);
    return found ? t(found[1] === "stream" ? "stream" : "s1") + " " + found[2] : named("subjects", text);
  }
  /* A sentence with commands between backquotes. */
  function sentence(node, text) {
    String(text)
      .split("\x60")
      .forEach(function (part, i) {
        node.appendChild(i % 2 ? el("code", part) : document.createTextNode(part));
      });
    return node;
  }
  /* The sentence of the agent in the page's language. */
  function said(of, what) {
    return (now.lang === "zh" && of[what + "_zh"]) || of[what] || "";
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
    return lasts(new Date(now.report.now) - new Date(text));
  }
  function lasts(ms) {
    var secs = Math.max(0, Math.round(ms / 1000));
    if (secs < 120) {
      return t("sec", secs);
    }
    if (secs < 7200) {
      return t("min", Math.round(secs / 60));
    }
    return secs < 172800 ? t("hour", Math.round(secs / 3600)) : t("day", Math.round(secs / 86400));
  }
  function bytes(n) {
    return n === null ? "–" : n >= 1e9 ? (n / 1e9).toFixed(n < 1e10 ? 1 : 0) + " GB" : (n / 1e6).toFixed(0) + " MB";
  }

  function request(method, path, body, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, path, true);
    /* An act may concern thousands of records. */
    xhr.timeout = method === "GET" ? 10000 : 120000;
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

  /* Asks for what a page shows; says in its place why that failed. */
  function get(path, place, done) {
    request("GET", path, null, function (status, found) {
      if (status === 200 && found) {
        done(found);
      } else if (status === 401) {
        window.HISYNC.access.ask(window.HISYNC.start);
      } else if (place) {
        clear(place).appendChild(el("p", t("failedLoad", (found && found.error) || status), "why"));
      }
    });
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
    button: button,
    parts: parts,
    time: time,
    age: age,
    bytes: bytes,
    request: request,
    get: get,
    lasts: lasts,
    link: link,
    pill: pill,
    card: card,
    add: add,
    table: table,
    num: num,
    trim: trim,
    said: said,
    sentence: sentence,
    subject: subject,
    pages: {}
  };
})();
