// Looks at the page of a training run with a real Chromium: node live.mjs REQUEST.json
//
// Request: {"url", "chromium": program, "shots": folder for pictures or "", "elsewhere": a page of another site, "steps"},
//          or {"url", "chromium", "shots", "from": a step} to take pictures alone, once the run is there.
// It writes words for the test on its standard output, a line each, and waits for a line after each: "feed N" (N steps
// more), "asked" (what the buttons have asked for, answered as JSON). Last it writes "result JSON".
import fs from "node:fs";
import readline from "node:readline";
import {chromium} from "playwright-core";

const asked = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const lines = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]();
async function tell(word) {
    console.log(word);
    return (await lines.next()).value;
}
const problems = [];
function want(ok, what) {
    if (!ok)
        problems.push(what);
}
// within waits until something is as it is wanted, a minute at most: on a busy machine it may take long.
async function within(get, good, what) {
    const end = Date.now() + 60000;
    let got = await get();
    while (!good(got) && Date.now() < end) {
        await new Promise((done) => setTimeout(done, 50));
        got = await get();
    }
    want(good(got), `${what}: ${got}`);
}

const browser = await chromium.launch({executablePath: asked.chromium, args: ["--no-sandbox", "--enable-precise-memory-info"]});
const context = await browser.newContext({viewport: {width: 1280, height: 900}, colorScheme: "light"});
const host = new URL(asked.url).host;
async function open(of = context) {
    const page = await of.newPage();
    page.on("console", (m) => m.type() === "error" && problems.push("console: " + m.text()));
    page.on("pageerror", (e) => problems.push("error: " + e.message));
    page.on("request", (r) => want(new URL(r.url()).host === host, "a request to " + r.url()));
    page.on("dialog", (d) => { problems.push("dialog: " + d.message()); d.dismiss(); });
    await page.goto(asked.url);
    await page.waitForFunction(() => document.querySelector("#status").textContent !== "connecting …");
    return page;
}
const shoot = async (page, name) => {
    if (asked.shots) {
        await page.mouse.move(0, 0);
        await page.waitForTimeout(200);
        await page.screenshot({path: `${asked.shots}/${name}.png`});
    }
};
// figure is a value at the top of the page.
const figure = (page, name) => page.evaluate((name) => [...document.querySelectorAll("#figures div")].find((d) =>
    d.firstChild.textContent === name)?.lastChild.textContent, name);
const atStep = (page, n) => page.waitForFunction((n) => document.querySelector("#figures dd")?.textContent.replaceAll(",", "")
    .startsWith(n + " /"), n, {timeout: 60000});
// ink is how many pixels of each curve are drawn in the colour of curves.
const ink = (page) => page.evaluate(() => [...document.querySelectorAll("canvas")].map((c) => {
    const colour = getComputedStyle(document.documentElement).getPropertyValue("--a").trim();
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let n = 0;
    for (let i = 0; i < d.length; i += 4)
        n += Math.abs(d[i] - r) + Math.abs(d[i + 1] - g) + Math.abs(d[i + 2] - b) < 40 && d[i + 3] > 200;
    return n;
}));

// pictures takes pictures of a real run.
async function pictures() {
    for (const [name, of] of [
        ["live-light", {viewport: {width: 1280, height: 800}, colorScheme: "light"}],
        ["live-dark", {viewport: {width: 1280, height: 800}, colorScheme: "dark"}],
        ["live-phone", {viewport: {width: 390, height: 844}, colorScheme: "light", isMobile: true, hasTouch: true}],
    ]) {
        const page = await open(await browser.newContext(of));
        await page.waitForFunction((n) => curve.points.length >= n, asked.from, {timeout: 300000});
        await shoot(page, name);
    }
    console.log("result " + JSON.stringify({problems}));
    await browser.close();
    process.exit(0);
}
if (asked.from)
    await pictures();

const page = await open();
await tell("feed 300");
await atStep(page, 300);
const drawn = (n) => (inks) => inks.length === 5 && inks.every((one) => one > n);
await within(() => ink(page), drawn(150), "pixels of the curves");
await within(() => page.textContent("#samples"), (text) => text.includes("<img src=x onerror=alert(1)>"), "the samples are");
await within(() => page.locator("#data article").count(), (n) => n === 3, "examples that are shown");
want(await page.locator("#data .learn").first().evaluate((e) => getComputedStyle(e).backgroundColor) !==
    await page.locator("#data .seen").first().evaluate((e) => getComputedStyle(e).backgroundColor), "learned text looks like other text");
await shoot(page, "live-light");

// Axis, smoothing and hover.
await page.check("#log");
await within(() => ink(page), drawn(100), "pixels of the curves on a log axis");
await page.uncheck("#log");
await page.hover("canvas >> nth=0", {position: {x: 200, y: 80}});
await within(() => page.textContent(".tip >> nth=0"), (text) => /^step [\d,]+  \d\.\d{4}/.test(text), "hovering says");
await within(() => page.locator(".tip").evaluateAll((all) => all.filter((t) => t.hidden).length), (n) => n === 0,
    "curves that the cursor is not on");

// With the keyboard alone.
const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.tagName);
const tabTo = async (id) => {
    for (let i = 0; i < 30 && await focus() !== id; i++)
        await page.keyboard.press("Tab");
    want(await focus() === id, "Tab does not reach " + id);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    want(outline !== "none", "the focus on " + id + " cannot be seen");
};
await page.mouse.click(600, 5);
await tabTo("evaluate");
await page.keyboard.press("Enter");
await tabTo("stop");
await page.keyboard.press("Enter");
await within(() => page.locator("dialog").evaluate((d) => d.open), (open) => open, "stopping is asked about");
await page.keyboard.press("Escape");
await within(() => page.locator("dialog").evaluate((d) => d.open), (open) => !open, "after Escape the question is open");
await tabTo("CANVAS");
await page.keyboard.press("End");
await page.keyboard.press("ArrowLeft");
await within(() => page.textContent("#reading"), (text) => text.startsWith("loss, step 299: "), "the keyboard reads");
await tabTo("prompt");
await page.keyboard.type("Once upon <a> time");
await tabTo("sample");
await page.keyboard.press("Space");
await tabTo("after");
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelector("#place").textContent.startsWith("4 to 6"));
await within(async () => JSON.stringify(JSON.parse(await tell("asked"))),
    (text) => text === JSON.stringify(["evaluate", "sample Once upon <a> time"]), "the buttons asked for");

// Dark, and on a phone.
await page.emulateMedia({colorScheme: "dark"});
await page.mouse.click(600, 5);
await page.evaluate(() => scrollTo(0, 0));
await within(() => ink(page), drawn(150), "pixels of the curves in dark colours");
await shoot(page, "live-dark");
const phone = await browser.newContext({viewport: {width: 390, height: 844}, colorScheme: "light", hasTouch: true, isMobile: true});
const small = await open(phone);
await atStep(small, 300);
await within(() => small.evaluate(() => document.documentElement.scrollWidth), (width) => width <= 390, "width on a phone");
want(await small.locator("button:visible").evaluateAll((all) => all.every((b) => b.getBoundingClientRect().height >= 36)), "buttons are too small for fingers");
await shoot(small, "live-phone");

// Many steps: the curves stay whole, the page small and smooth, a second viewer and a reload see the same.
const session = await context.newCDPSession(page);
await page.evaluate(() => {
    window.frames_ = [];
    window.longest_ = 0;
    new PerformanceObserver((l) => l.getEntries().forEach((e) => { window.longest_ = Math.max(window.longest_, e.duration); })).observe({entryTypes: ["longtask"]});
    let last = performance.now();
    const tick = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    window.draws_ = 0;
    const drawOne = drawChart;
    drawChart = (...of) => { window.draws_++; drawOne(...of); };
});
await tell("feed " + (asked.steps - 300));
await atStep(page, asked.steps);
await within(() => page.evaluate(() => samples.length), (n) => n === 1 + asked.steps / 100, "samples at the end");
const heapBusy = await page.evaluate(() => performance.memory.usedJSHeapSize);
await session.send("HeapProfiler.collectGarbage");
const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
const smooth = await page.evaluate(() => {
    const f = window.frames_.slice(5).sort((a, b) => a - b);
    return {frames: window.frames_.length, draws: window.draws_ / charts.length, median: f[f.length >> 1],
        p99: f[Math.floor(f.length * 0.99)], longest: window.longest_};
});
want(heapBusy < 50e6, `the page takes ${heapBusy} bytes`);
want(heap < 10e6, `the page keeps ${heap} bytes`);
// How long a frame takes depends on the machine; that steps do not make more work than frames have room for, does not.
want(smooth.draws > 0 && smooth.draws <= smooth.frames, "curves are drawn more than once a frame: " + JSON.stringify(smooth));
smooth.draw = await page.evaluate(() => {
    const c = charts.map((c) => c), colours = {a: "#123456", b: "#654321", faint: "#888888", line: "#cccccc"};
    return [...Array(3)].map(() => c.map((one) => {
        const began = performance.now();
        drawChart(one, colours, 0.9, false);
        return Math.round(10 * (performance.now() - began)) / 10;
    }));
});
const state = (p) => p.evaluate(() => JSON.stringify([curve.stride, curve.points.length, curve.points.reduce((s, q) => s + q[1], 0), evals.length, samples.length]));
const first = await state(page);
const second = await open();
await atStep(second, asked.steps);
await within(() => state(second), (one) => one === first, `the first viewer has ${first}, a second`);
await second.reload();
await atStep(second, asked.steps);
await within(() => state(second), (one) => one === first, `the page had ${first}, reloaded`);
await second.close();

// Another site in the same browser reaches nothing.
const evil = await context.newPage();
await evil.goto(asked.elsewhere);
const reached = await evil.evaluate(async (url) => {
    const all = [];
    for (const [what, init] of [["stop", {method: "POST", mode: "no-cors", body: "{}"}], ["stop", {method: "POST",
        headers: {"Content-Type": "application/json"}, body: "{}"}], ["examples", {}], ["", {mode: "no-cors"}]])
        await fetch(url + what, init).then((r) => all.push([what, r.type, r.status]), () => {});
    all.push(await new Promise((done) => {
        const s = new EventSource(url + "events");
        s.onopen = () => done("events");
        s.onerror = () => done("");
    }));
    const frame = document.createElement("iframe");
    frame.src = url;
    document.body.append(frame);
    await new Promise((done) => { frame.onload = done; setTimeout(done, 2000); });
    return all;
}, asked.url);
want(reached.every((r) => !r || r[1] === "opaque" && r[2] === 0), "another site reaches " + JSON.stringify(reached));
const framed = await Promise.all(evil.frames().slice(1).map((f) => f.evaluate(() => !!document.querySelector("#charts")).catch(() => false)));
want(framed.every((f) => !f), "another site frames the page");
want(JSON.parse(await tell("asked")).length === 2, "another site pressed a button");
await evil.close();

// Stopped from the page.
await page.click("#stop");
await page.click("#confirm-yes");
await within(() => tell("asked"), (text) => JSON.parse(text)[2] === "stop", "the last button asked for");
await tell("end");
await page.waitForFunction(() => document.querySelector("#status").textContent === "stopped after step 5 of 9");
await within(() => page.isDisabled("#stop"), (disabled) => disabled, "after the end, the stop button is disabled");
console.log("result " + JSON.stringify({problems, heap, heapBusy, smooth, state: first}));
await browser.close();
process.exit(0);
