/* Small charts of the last day. Plain SVG: old browsers draw it, and nothing is loaded for it. */
(function () {
  "use strict";
  var H = window.HISYNC,
    t = H.t,
    el = H.el,
    put = H.put;
  var SVG = "http://www.w3.org/2000/svg",
    SLOTS = 48,
    HALF_HOUR = 1800000,
    WIDE = 240,
    HIGH = 44;

  function shape(tag, attributes) {
    var node = document.createElementNS(SVG, tag),
      name;
    for (name in attributes) {
      node.setAttribute(name, attributes[name]);
    }
    return node;
  }
  function drawing(wide, high, title) {
    var svg = shape("svg", { viewBox: "0 0 " + wide + " " + high, preserveAspectRatio: "none", role: "img" });
    svg.appendChild(shape("title", {})).appendChild(document.createTextNode(title));
    return svg;
  }

  /* The half hours of the last day: what came in and went out in each, and the most that was held or waited. */
  H.halfHours = function (day, live) {
    var end = live[0],
      points = day.points.concat([live]),
      slots = { received: [], delivered: [], held: [], waiting: [], known: 0 },
      i,
      at,
      now,
      before;
    for (i = 0; i < SLOTS; i++) {
      slots.received.push(null);
      slots.delivered.push(null);
      slots.held.push(null);
      slots.waiting.push(null);
    }
    for (i = 0; i < points.length; i++) {
      now = points[i];
      before = points[i - 1];
      at = Math.min(SLOTS - 1, SLOTS - 1 - Math.floor((end - now[0]) / HALF_HOUR));
      if (at < 0) {
        continue;
      }
      slots.known += slots.held[at] === null ? 1 : 0;
      slots.received[at] += before ? Math.max(0, now[1] - before[1]) : 0;
      slots.delivered[at] += before ? Math.max(0, now[2] - before[2]) : 0;
      slots.held[at] = Math.max(slots.held[at], now[3]);
      slots.waiting[at] = Math.max(slots.waiting[at], now[4]);
    }
    return slots;
  };
  H.sum = function (values) {
    var sum = 0,
      i;
    for (i = 0; i < values.length; i++) {
      sum += values[i] || 0;
    }
    return sum;
  };
  function peak(values) {
    return Math.max.apply(null, [0].concat(values));
  }

  /* Bars for what came in a while, a step line for how much there was. Nothing is drawn where nobody looked. */
  H.chart = function (values, title, kind) {
    var most = peak(values),
      top = most || 1,
      step = WIDE / values.length,
      svg = drawing(WIDE, HIGH, title + ": " + t("cPeak", most)),
      node = el("div", null, "chart " + kind),
      i,
      high;
    svg.appendChild(shape("line", { x1: 0, x2: WIDE, y1: HIGH - 0.5, y2: HIGH - 0.5, class: "base" }));
    for (i = 0; i < values.length; i++) {
      if (values[i] !== null) {
        high = (values[i] / top) * (HIGH - 4);
        if (values[i] > 0) {
          high = Math.max(high, 2);
        }
        svg.appendChild(
          shape("rect", {
            x: i * step + (kind === "bars" ? 0.6 : 0),
            y: HIGH - high,
            width: kind === "bars" ? step - 1.2 : step + 0.2,
            height: high
          })
        );
      }
    }
    put(
      node,
      svg,
      put(
        el("div", null, "axis"),
        el("span", t("ago24")),
        el("span", most ? t("cPeak", H.num(most)) : ""),
        el("span", t("nowWord"))
      )
    );
    return node;
  };

  /* The hours of today with a mark at what is usual for each. */
  H.hoursChart = function (hours) {
    var most = 1,
      high = 120,
      wide = 720,
      step = wide / 24,
      svg,
      i,
      hour,
      labels = el("div", null, "axis"),
      y = function (n) {
        return high - (n / most) * (high - 8);
      };
    for (i = 0; i < hours.length; i++) {
      most = Math.max(most, hours[i].records || 0, hours[i].usual || 0);
    }
    svg = drawing(wide, high, t("hoursOf") + ": " + t("cPeak", most));
    svg.appendChild(shape("line", { x1: 0, x2: wide, y1: high - 0.5, y2: high - 0.5, class: "base" }));
    for (i = 0; i < hours.length; i++) {
      hour = hours[i];
      if (hour.records) {
        svg.appendChild(
          shape("rect", { x: i * step + 4, width: step - 8, y: y(hour.records), height: high - y(hour.records) })
        );
      }
      if (hour.usual !== null) {
        svg.appendChild(
          shape("line", {
            x1: i * step + 1,
            x2: (i + 1) * step - 1,
            y1: y(hour.usual),
            y2: y(hour.usual),
            class: "usual"
          })
        );
      }
    }
    for (i = 0; i <= 24; i += 6) {
      labels.appendChild(el("span", (i < 10 ? "0" : "") + i + ":00"));
    }
    return put(el("div", null, "chart hours"), svg, labels);
  };
})();
