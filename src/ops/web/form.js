/* The form for each act: who acts, why where that is to be known, and what else the act needs. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    el = H.el,
    put = H.put,
    clear = H.clear,
    say = H.say;

  function remember(who) {
    now.who = who;
    try {
      window.sessionStorage.setItem("who", who);
    } catch (e) {
      /* private mode */
    }
  }
  function input(field) {
    var node = el("input"),
      list,
      i;
    node.type = "text";
    node.name = field.name;
    node.value = field.value || "";
    node.maxLength = 200;
    node.autocomplete = "off";
    if (field.words && field.words.length) {
      list = el("datalist");
      list.id = "words-" + field.name;
      for (i = 0; i < field.words.length; i++) {
        list.appendChild(el("option")).value = field.words[i];
      }
      node.setAttribute("list", list.id);
      return { node: node, list: list };
    }
    if (field.choose) {
      node = el("select");
      node.name = field.name;
      for (i = 0; i < field.choose.length; i++) {
        node.appendChild(el("option", field.choose[i][1])).value = field.choose[i][0];
      }
    }
    return { node: node };
  }

  /* `act`: means (what it does), verb (the button), why (a reason is asked for), fields, check (what is wrong with the
     values), send (does it; calls back with an error or nothing). */
  H.form = function (place, act) {
    var node = el("form", null, "form"),
      wrong = el("p", "", "why"),
      fields = (act.fields || []).slice(),
      inputs = {},
      go = el("button", t("confirm", act.verb.replace("…", "")), "main"),
      first = null;
    if (!(now.me && now.me.name)) {
      fields.push({ name: "who", label: t("who"), value: now.who });
    }
    if (act.why) {
      fields.push({ name: "because", label: act.why });
    }
    node.appendChild(el("p", act.means));
    fields.forEach(function (field) {
      var made = input(field);
      inputs[field.name] = made.node;
      put(node, put(el("label"), el("span", field.label), made.node, made.list));
      if (!first && !made.node.value) {
        first = made.node;
      }
    });
    go.type = "submit";
    put(
      node,
      wrong,
      go,
      H.button(t("cancel"), function () {
        clear(place);
      })
    );
    node.onkeydown = function (event) {
      if (event.keyCode === 27) {
        clear(place);
      }
    };
    node.onsubmit = function () {
      var values = { who: (now.me && now.me.name) || "", because: "" },
        problem,
        name;
      for (name in inputs) {
        values[name] = H.trim(inputs[name].value);
      }
      if (!values.who || (act.why && !values.because)) {
        problem = t(act.why ? "must" : "mustWho");
        (values.who ? inputs.because : inputs.who).focus();
      }
      problem = problem || (act.check && act.check(values));
      if (problem) {
        say(wrong, problem);
        return false;
      }
      if (inputs.who) {
        remember(values.who);
      }
      go.disabled = true;
      act.send(values, function (error) {
        go.disabled = false;
        if (error) {
          say(wrong, error);
        } else {
          clear(place);
        }
      });
      return false;
    };
    put(clear(place), node);
    (first || go).focus();
  };
  /* Posts, and tells the form how that went. */
  H.post = function (path, body, done, then) {
    H.request("POST", path, body, function (status, found) {
      if (status !== 200 || !found) {
        done(t("refused", (found && found.error) || status));
        return;
      }
      then(found, done);
    });
  };
  /* A button for an act that whoever is here may do; otherwise nothing. */
  H.act = function (role, text, act, cls) {
    return H.access.may(role) ? H.button(text, act, cls) : null;
  };
  /* What came of an act, above the page until something else is opened. */
  H.notice = function (text) {
    var place = clear(H.id("notice"));
    if (text) {
      place.appendChild(el("p", text, "notice"));
    }
  };
})();
