/* Who uses the page: logging in and out, where the agent knows operators. */
(function () {
  "use strict";
  var H = window.HISYNC,
    now = H.now,
    t = H.t,
    id = H.id,
    el = H.el,
    put = H.put,
    clear = H.clear,
    say = H.say;
  var shown = false,
    asked = null;

  /* A page that nobody touches must not keep a session alive. */
  function touched() {
    now.touched = new Date().getTime();
  }
  document.addEventListener("mousedown", touched);
  document.addEventListener("keydown", touched);
  touched();

  function take(me) {
    now.me = me;
    now.proof = me.proof || "1";
    if (me.name) {
      now.who = me.name;
    }
    var place = clear(id("operator"));
    if (me.name) {
      put(place, el("span", me.name), H.button(t("logOut"), leave));
    }
  }
  function leave() {
    H.request("POST", "/api/logout", {}, function () {
      window.location.reload();
    });
  }
  /* Asks for a name and a password; `then` goes on once somebody is in. */
  function ask(then) {
    if (shown) {
      return;
    }
    shown = true;
    asked = then;
    var node = el("form", null, "form login"),
      name = el("input"),
      word = el("input"),
      wrong = el("p", "", "why"),
      go = el("button", t("logIn"), "main"),
      place = id("login");
    name.type = "text";
    name.name = "username";
    name.autocomplete = "username";
    word.type = "password";
    word.name = "password";
    word.autocomplete = "current-password";
    go.type = "submit";
    put(
      node,
      el("h2", t("logInHead")),
      el("p", t("logInHint"), "hint"),
      put(el("label"), el("span", t("name")), name),
      put(el("label"), el("span", t("password")), word),
      wrong,
      go
    );
    node.onsubmit = function () {
      go.disabled = true;
      H.request("POST", "/api/login", { name: name.value, password: word.value }, function (status, found) {
        go.disabled = false;
        word.value = "";
        if (status === 200 && found) {
          shown = false;
          clear(place);
          document.body.className = "";
          take(found);
          then();
          return;
        }
        say(wrong, status === 429 ? t("logInWait") : status === 401 ? t("logInWrong") : t("refused", status));
        word.focus();
      });
      return false;
    };
    document.body.className = "outside";
    put(clear(place), node);
    name.focus();
  }

  H.access = {
    /* Finds out who is here, asks where nobody is, then goes on. */
    begin: function (then) {
      H.request("GET", "/api/me", null, function (status, me) {
        if (status === 200 && me && (me.open || me.name)) {
          take(me);
          then();
        } else if (status === 200) {
          ask(then);
        } else {
          now.proof = "1";
          then();
        }
      });
    },
    ask: ask,
    /* The same in another language. */
    again: function () {
      if (now.me) {
        take(now.me);
      }
      if (shown) {
        shown = false;
        ask(asked);
      }
    },
    /* Whether whoever is here may do what a role says. */
    may: function (role) {
      var me = now.me,
        i;
      if (!me || me.open) {
        return true;
      }
      for (i = 0; i < me.roles.length; i++) {
        if (me.roles[i] === role) {
          return true;
        }
      }
      return false;
    }
  };
})();
