// Drives the status page in a headless Chromium, as a person would. Lines of JSON: in { scene, args }, out { ok } or
// { error }. Pictures for the guides go to HISYNC_PICTURES, where that is set.
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const BASE = process.argv[2];
const PATIENCE = 60000;
const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const SWITCHES = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--force-color-profile=srgb"
];

let page;
let problems = [];

async function open(name, { lang } = {}) {
  const language = lang || "en";
  const address = `${BASE}/?lang=${language}#/${name}`;
  // Another page of the same document would only change the hash: begin anew.
  await page.goto("about:blank");
  await page.goto(address);
  await page.waitForSelector(`#page[data-page="${name}"]`);
}
async function text(selector) {
  return (await page.locator(selector).first().innerText()).trim();
}
async function see(selector, wanted) {
  await page.locator(selector).filter({ hasText: wanted }).first().waitFor();
}
async function gone(selector) {
  await page.locator(selector).first().waitFor({ state: "detached" });
}
// A button by its words, inside a part of the page.
async function press(where, words) {
  await page.locator(where).getByRole("button", { name: words, exact: true }).first().click();
}
async function fill(values) {
  for (const [name, value] of Object.entries(values)) {
    const field = page.locator(`.form [name=${name}]`);
    if ((await field.evaluate((node) => node.tagName)) === "SELECT") await field.selectOption(value);
    else await field.fill(value);
  }
}
async function confirm() {
  await page.locator(".form button.main").click();
}
async function picture(name, { phone, tall } = {}) {
  const folder = process.env.HISYNC_PICTURES;
  await page.setViewportSize(phone ? PHONE : { width: DESK.width, height: tall || DESK.height });
  await page.evaluate(() => document.activeElement && document.activeElement.blur());
  if (folder) {
    // A test's folder says nothing to a reader of the guides, and differs each time.
    await page.evaluate((temporary) => {
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const text = texts.currentNode;
        text.data = text.data.replace(new RegExp(`${temporary}/[^/"]+`, "g"), "/srv/hospital");
      }
    }, os.tmpdir());
    const file = path.join(folder, `${name}.png`);
    await page.screenshot({ path: file, animations: "disabled" });
    try {
      // Fewer colours, where a tool for it is at hand: a third of the size, and nobody sees it.
      execFileSync("pngquant", ["--force", "--ext", ".png", "64", file], { stdio: "ignore" });
    } catch {
      /* not installed */
    }
  }
  await page.setViewportSize(DESK);
}
// Nothing stands out of the page at the side, at the width of a desk or of a phone.
async function fits(size) {
  await page.setViewportSize(size);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${page.url()} is ${wide} px too wide at ${size.width}`);
  await page.setViewportSize(DESK);
}

const scenes = {
  async overview({ streams, held, reports }) {
    await open("overview");
    assert.equal(await text("#verdict h1"), "Needs attention");
    await see("#verdict li", "Held for a person");
    assert.equal(await page.locator(".flow .box").count(), 4);
    await see("#flow-s1", `${streams} / ${streams}`);
    await see("#flow-s2", `${held} held for a person`);
    await see("#flow-s4", "open");
    await page.waitForFunction(() => document.querySelectorAll("#flow-s2 svg rect").length > 20);
    assert.equal(await page.locator("#at-streams tbody tr").count(), streams);
    await see("#at-streams tbody tr", "lab/reports");
    const row = page.locator("#at-sum tbody tr", { hasText: "report" }).first();
    assert.match(await row.innerText(), new RegExp(`report\\s+${reports}\\s`));
    await see("#at-sum .all .pill", "yes");
    await see("nav a.on", "Overview");
    await fits(DESK);
    await fits(PHONE);
    await picture("status-en", { tall: 1230 });
    await page.locator("#lang").click();
    await see("#verdict h1", "需要关注");
    await see("nav a", "待处理");
    await picture("status", { tall: 1230 });
    await picture("phone", { phone: true });
    await page.locator("#lang").click();
    await see("#verdict h1", "Needs attention");
    await page.locator("#verdict li", { hasText: "Held for a person" }).locator("a.go").click();
    await page.waitForSelector('#page[data-page="held"]');
  },

  async outage() {
    await open("overview", { lang: "zh" });
    await see("#verdict h1", "同步故障");
    await see("#verdict li", "发送已暂停");
    await see("#flow-s4", "http-503");
    await picture("outage");
  },

  async streams({ stream }) {
    await open("streams");
    await see("#at-streams tr", stream);
    await see("#at-streams tr .pill", "healthy");
    await see("#at-sources .pill", "closed");
    await see("#at-probes", "not probed yet");
    await fits(PHONE);
    await picture("streams");
    await page.locator("#at-streams").getByRole("link", { name: stream }).click();
    await page.waitForSelector(`#page[data-page="streams/${stream}"]`);
    await page.waitForSelector("#at-hours svg line.usual", { state: "attached" });
    assert.ok((await page.locator("#at-hours svg line.usual").count()) >= 20);
    await picture("stream", { tall: 900 });
    await page.getByRole("link", { name: "← Back" }).click();
    await page.waitForSelector('#page[data-page="streams"]');
  },

  async broken_source() {
    await open("streams");
    await see("#at-sources tr", "peis");
    await see("#at-sources .pill.failing", "");
    await see("#at-streams .pill.failing", "failing");
    await picture("source-down");
    await press("#at-sources", "Ask now");
    await confirm();
    await see(".form .why", "Give your name.");
    await fill({ who: "wang" });
  },
  async source_back() {
    await confirm();
    await see("#at-sources .pill", "closed");
    await gone(".form");
  },

  async held_list({ reasons }) {
    await open("held");
    for (const reason of reasons) await see("#at-held tbody td", reason);
    await see("nav a.on .count", "");
    await page.locator(".chips").getByRole("button", { name: reasons[0] }).first().click();
    await page.waitForFunction((reason) => {
      const rows = Array.from(document.querySelectorAll("#at-held tbody tr"));
      return rows.length > 0 && rows.every((row) => row.textContent.includes(reason));
    }, reasons[0]);
    await fits(PHONE);
    await page.locator(".chips").getByRole("button", { name: /^All/ }).click();
    await page.locator("#lang").click();
    await see("#at-held h2", "待人工处理");
    await picture("held");
    await page.locator("#lang").click();
  },

  async held_item({ id, name }) {
    await open(`held/${id}`);
    await see("#at-item", "unknown-code");
    await see("#at-item table", "unknown-code");
    await see("#at-raw pre", "●●");
    await page.waitForSelector("#at-normalised tr.doubt");
    await see("#at-normalised", "would still be held");
    assert.ok(!(await text("#page")).includes(name), "a name is shown without a reason");
    await fits(DESK);
    await fits(PHONE);
    await picture("held-item", { tall: 1000 });
    await press("#at-item", "Show personal data…");
    await fill({ who: "wang" });
    await confirm();
    await see(".form .why", "Give your name and the reason.");
    await fill({ because: "compare with the paper" });
    await confirm();
    await see("#at-raw pre", name);
    await open(`held/${id}`);
    await see("#at-raw pre", "●●");
    await see("#at-history", "compare with the paper");
  },

  async held_retry({ id }) {
    await open(`held/${id}`);
    await press("#at-item", "Retry");
    await fill({ who: "wang" });
    await confirm();
    await see(".form .why", "0 settled, 1 still held.");
    await press(".form", "Cancel");
    await gone(".form");
  },

  async held_retry_all({ reason }) {
    await open("held");
    await page.locator(".chips").getByRole("button", { name: reason }).first().click();
    await page
      .locator(".chips")
      .getByRole("button", { name: /^Retry all/ })
      .click();
    await fill({ who: "wang" });
    await confirm();
    await see("#notice", "settled");
  },

  async held_dismiss({ id }) {
    await open(`held/${id}`);
    await press("#at-item", "Dismiss");
    await fill({ who: "wang", because: "a test of the laboratory" });
    await confirm();
    await page.waitForSelector('#page[data-page="held"]');
    await see("#notice", "1 settled, 0 still held.");
    await open(`held/${id}`);
    await see("#at-item .pill", "dismissed");
    await see("#at-history", "a test of the laboratory");
    assert.equal(await page.locator("#at-item .bar button", { hasText: "Retry" }).count(), 0);
  },

  async held_release({ reason }) {
    await open("held");
    const row = page.locator("#at-held tbody tr", { hasText: reason });
    await row.getByRole("button", { name: "Release" }).click();
    await fill({ who: "wang" });
    await confirm();
    await see("#notice", "1 settled, 0 still held.");
  },

  async codes({ code, standard }) {
    await open("codes");
    const row = page.locator("#at-codes tbody tr", { hasText: code }).first();
    await row.waitFor();
    await see("nav a.on .count", "");
    await fits(PHONE);
    await row.getByRole("button", { name: "Map…" }).click();
    await page.waitForFunction(() => document.querySelectorAll("#words-standard option").length > 1);
    await fill({ who: "wang" });
    await confirm();
    await see(".form .why", "Give the standard code.");
    await fill({ standard: "no such word" });
    await confirm();
    await see(".form .why", "Not done");
    await fill({ standard, name: "异常" });
    await page.locator("#lang").evaluate((node) => node.blur());
    await picture("codes");
    await confirm();
    await see("#notice", "records are mapped again.");
  },

  async outbox({ waiting, name }) {
    await open("outbox");
    await see("#at-upstream .pill.failing", "");
    await see("#at-outbox tbody tr", "http-503");
    assert.equal(await page.locator("#at-outbox tbody tr").count(), waiting);
    await see("#at-recent tbody tr", "report");
    await fits(PHONE);
    await picture("outbox");
    await page.locator("#at-outbox tbody a").last().click();
    await page.waitForSelector("#at-event pre");
    assert.ok(!(await text("#page")).includes(name), "a name is shown without a reason");
    await press("#at-event", "Show personal data…");
    await fill({ who: "wang", because: "upstream asks" });
    await confirm();
    await see("#at-event .hint", "personal data shown");
  },

  async send_now() {
    await open("outbox");
    await press("#at-upstream", "Send now");
    await fill({ who: "wang" });
  },
  async upstream_back() {
    await confirm();
    await see("#at-upstream .pill", "open");
    await see("#at-outbox", "Everything is delivered or held.");
  },

  async find({ number }) {
    await open("find");
    await page.locator("input[name=needle]").fill("nobody-has-this");
    await page.keyboard.press("Enter");
    await see("#page .empty", "Nothing is known");
    await page.locator("input[name=needle]").fill(number);
    await press("#at-find", "Find");
    for (const step of ["received", "mapped", "queued", "delivered"]) await see(".life li b", step);
    await see(".life li", "from receipt to delivery");
    assert.ok(!page.url().includes(number), "the number is in the address");
    await fits(PHONE);
    await page.locator("input[name=needle]").fill("03…");
    await picture("find");
    await page.locator(".life a").first().click();
    await page.waitForSelector("#at-event pre");
  },

  async alerts({ channel }) {
    await open("alerts");
    const row = page.locator("#at-alerts tbody tr", { hasText: "upstream-clock" });
    await row.waitFor();
    await fits(PHONE);
    await row.getByRole("button", { name: "Silence…" }).click();
    await fill({ hours: "0", who: "wang", because: "the clock is being set" });
    await confirm();
    await see(".form .why", "Give a number of hours");
    await fill({ hours: "2" });
    await confirm();
    await see("#at-silences tr", "the clock is being set");
    await picture("alerts");
    await press("#at-silences", "End");
    await fill({ who: "wang" });
    await confirm();
    await see("#at-silences", "Nothing is silenced.");
    await see("#at-channels tr", channel);
    await press("#at-channels", "Send a test");
    await see("#notice", "Sent.");
  },

  async compare({ stream, key }) {
    await open("compare");
    await see("#page", "Nothing was compared yet.");
    await press("#at-compare", "Compare…");
    await fill({ subject: stream, who: "wang" });
    await confirm();
    await see("#notice", "Begun as number 1.");
    await see("#at-compare tbody .pill", "done");
    await see("#at-compare tbody tr", "missing 1");
    await fits(PHONE);
    await picture("compare");
    await page.locator("#at-compare tbody a").first().click();
    await see("#at-items tbody tr", "missing");
    assert.ok(!(await text("#page")).includes(key), "a number is shown without a reason");
    await press("#at-items", "Show personal data…");
    await fill({ who: "wang", because: "ask the hospital" });
    await confirm();
    await see("#at-items", key);
  },

  async config({ secret }) {
    await open("config");
    await see("#at-config pre", "[[sources.streams]]");
    await see("#at-history tbody tr", "in force");
    assert.equal(await page.locator("#at-history tbody tr").count(), 2);
    assert.ok(!(await text("#page")).includes(secret), "a secret is shown");
    await see("#at-mappings tr", "peis/reports");
    await fits(PHONE);
    await picture("config", { tall: 1500 });
    await page.locator("#at-history").getByRole("link", { name: "What changed" }).first().click();
    await see("#at-change .plus", "heartbeat_secs = 7");
    await see("#at-change .minus", "heartbeat_secs = 5");
    await page.getByRole("link", { name: "← Back" }).click();
    await page.locator("#at-history").getByRole("link", { name: "What changed" }).last().click();
    await see("#at-change", "the oldest that is kept");
  },

  async switches() {
    await open("config");
    const row = page.locator("#at-switches tbody tr", { hasText: "hold-deliveries" });
    await row.getByRole("button", { name: "Set…" }).click();
    await fill({ value: "on", hours: "9999", who: "wang", because: "upstream is being moved" });
    await confirm();
    await see(".form .why", "it ends by itself");
    await fill({ hours: "2" });
    await confirm();
    await see("#at-switches .pill", "on");
    await see("#at-switches tr", "wang: upstream is being moved");
    await fits(PHONE);
    await picture("switches");
    await open("overview");
    await see("#verdict li", "upstream is being moved");
    await open("config");
    await press("#at-switches", "Clear");
    await fill({ who: "wang" });
    await confirm();
    await gone("#at-switches .pill");
  },

  async reload() {
    await open("config");
    await press("#at-reload", "What would it do…");
    await fill({ who: "wang" });
    await confirm();
    await see("#at-reload .pill", "would be applied");
    await see("#at-reload", "upstream.heartbeat_secs");
    await press("#at-reload", "Load…");
    await fill({ who: "wang" });
    await confirm();
    await see("#at-reload .pill", /^applied$/);
    await open("config");
    await see("#at-history tr", "upstream.heartbeat_secs");
    await see("#at-config pre", "heartbeat_secs = 7");
  },

  async audit({ lines }) {
    await open("audit");
    for (const line of lines) await see("#at-audit tbody tr", line);
    await see("#at-audit .pill", "the chain is whole");
    await fits(PHONE);
    await page.locator("#lang").click();
    await see("#at-audit .pill", "哈希链完好");
    await picture("audit");
  },

  async broken_audit() {
    await open("audit");
    await see("#at-audit .pill.failing", "the chain breaks at line");
  },

  async log_in({ name, password, wrong }) {
    await page.goto(`${BASE}/?lang=zh#/overview`);
    await page.locator(".login").waitFor();
    assert.equal(await page.locator("nav").isVisible(), false);
    await picture("login");
    await page.goto("about:blank");
    await page.goto(`${BASE}/?lang=en#/overview`);
    await page.locator("input[name=username]").fill(name);
    await page.locator("input[name=password]").fill(wrong);
    await page.keyboard.press("Enter");
    await see(".login .why", "The name or the password is wrong.");
    await page.locator("input[name=password]").fill(password);
    await page.keyboard.press("Enter");
    await see("#verdict h1", "Needs attention");
    await see("#operator", name);
  },

  // Who may only look sees no control that does something, and the server refuses what is asked all the same.
  async only_looks({ id }) {
    for (const name of ["overview", "streams", "held", "codes", "outbox", "alerts", "compare", "config", "audit"]) {
      await open(name);
      await page.waitForFunction(() => !/loading…/.test(document.getElementById("page").innerText));
      const acts = await page.locator("#page button").allInnerTexts();
      assert.deepEqual(
        acts.filter((words) => !/^(All|Show more|Older|Unknown|unknown)/.test(words)),
        [],
        name
      );
    }
    await open(`held/${id}`);
    await page.waitForSelector("#at-raw pre");
    assert.equal(await page.locator("#page button").count(), 0);
    const answers = await page.evaluate(async (item) => {
      const proof = window.HISYNC.now.proof;
      const ask = (method, path) =>
        new Promise((done) => {
          const xhr = new XMLHttpRequest();
          xhr.open(method, path);
          xhr.setRequestHeader("X-Hisync", proof);
          xhr.setRequestHeader("Content-Type", "application/json");
          xhr.onload = () => done(xhr.status);
          xhr.send("{}");
        });
      return [
        await ask("POST", `/api/held/${item}/retry`),
        await ask("POST", "/api/codes/map"),
        await ask("GET", `/api/held/${item}?personal=x`)
      ];
    }, id);
    assert.deepEqual(answers, [403, 403, 403]);
  },

  // Who may operate acts under the account's name: no form asks for another one.
  async operates({ id, operator }) {
    await open(`held/${id}`);
    await page.waitForSelector("#at-raw pre");
    await press("#at-item", "Dismiss");
    assert.equal(await page.locator(".form [name=who]").count(), 0);
    await fill({ because: "agreed with the laboratory" });
    await confirm();
    await see("#notice", "1 settled");
    await open("audit");
    await see("#at-audit tbody tr", operator);
  },

  async log_out() {
    await page.locator("#operator button").click();
    await page.locator(".login").waitFor();
  },

  async lost() {
    await see("#verdict h1", "无法连接 hisync");
  }
};

(async () => {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "hisync-page-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.HISYNC_CHROMIUM || "/usr/bin/chromium",
    args: SWITCHES,
    timeout: 120000,
    viewport: DESK,
    locale: "en-GB",
    timezoneId: "Asia/Shanghai"
  });
  page = context.pages()[0] || (await context.newPage());
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => problems.push(`${error.message}\n${error.stack}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(BASE) && !/^(about|data|chrome-error):/.test(request.url())) {
      problems.push(`asks another server: ${request.url()}`);
    }
  });
  console.log(JSON.stringify({ ok: true }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { scene, args } = JSON.parse(line);
    try {
      await scenes[scene](args);
      assert.deepEqual(problems, []);
      console.log(JSON.stringify({ ok: true }));
    } catch (error) {
      const seen = await page.evaluate(() => document.body.innerText).catch(() => "");
      const told = problems.concat(error.stack, `at ${page.url()}`, seen.slice(0, 4000)).join("\n");
      console.log(JSON.stringify({ error: `${scene}: ${told}` }));
    }
  }
  await context.close();
  fs.rmSync(profile, { recursive: true, force: true });
})().catch((error) => {
  console.log(JSON.stringify({ error: String(error.stack) }));
  process.exit(1);
});
