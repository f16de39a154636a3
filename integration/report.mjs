// Looks at the report of a training run with a real Chromium: node report.mjs REQUEST.json
//
// Request: {"page": path, "chromium": program, "shots": folder for pictures or "", "evil": whether its texts want to be
//          more than text}.
// It writes "result JSON".
import fs from "node:fs";
import {pathToFileURL} from "node:url";
import {chromium} from "playwright-core";

const asked = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const url = pathToFileURL(asked.page).href;
const problems = [];
function want(ok, what) {
    if (!ok)
        problems.push(what);
}

const browser = await chromium.launch({executablePath: asked.chromium, args: ["--no-sandbox"]});

// look opens the report and wants it to load nothing else, to run nothing, and to fit the window.
async function look(name, of, check) {
    const page = await (await browser.newContext(of)).newPage();
    page.on("console", (m) => want(m.type() !== "error", `${name}, console: ${m.text()}`));
    page.on("pageerror", (e) => problems.push(`${name}, error: ${e.message}`));
    page.on("request", (r) => want(r.url() === url, `${name}: a request to ${r.url()}`));
    page.on("dialog", (d) => { problems.push(`${name}, dialog: ${d.message()}`); d.dismiss(); });
    await page.goto(url);
    const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    want(width[0] <= width[1], `${name}: ${width[0]} pixels in a window of ${width[1]}`);
    want(await page.locator("script, link, img, iframe, object, [src], [href], [onclick], [onerror]").count() === 0,
        `${name}: elements that load or run`);
    await check(page);
    if (asked.shots)
        await page.screenshot({path: `${asked.shots}/${name}.png`, fullPage: name === "report-light"});
    return page;
}

// contrast is that of two colours, as the Web Content Accessibility Guidelines define it.
function contrast(a, b) {
    const light = (c) => {
        const [r, g, blue] = c.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
    };
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
}

// readable wants text and curves to stand out from what is behind them.
async function readable(name, page) {
    const colours = await page.evaluate(() => {
        const of = (e, what) => getComputedStyle(e)[what];
        const card = of(document.querySelector("figure"), "backgroundColor");
        return {card, text: [...document.querySelectorAll("th, td, dt, dd, figcaption, .when, svg text")].slice(0, 400).map((e) =>
            of(e, e.tagName === "text" ? "fill" : "color")), curves: [...document.querySelectorAll("polyline")].map((e) => of(e, "stroke"))};
    });
    for (const c of new Set(colours.text))
        want(contrast(c, colours.card) >= 4.5, `${name}: text of ${c} on ${colours.card}`);
    for (const c of new Set(colours.curves))
        want(contrast(c, colours.card) >= 3, `${name}: a curve of ${c} on ${colours.card}`);
    want(new Set(colours.curves).size >= 2, `${name}: all curves are ${colours.curves[0]}`);
}

const wide = {width: 1280, height: 900};
await look("report-light", {viewport: wide, colorScheme: "light"}, async (page) => {
    await readable("light", page);
    const structure = await page.evaluate(() => ({
        tables: [...document.querySelectorAll("table")].every((t) => t.caption?.textContent && [...t.querySelectorAll("th")].every((h) => h.scope)),
        pictures: [...document.querySelectorAll("figure svg:not([aria-hidden])")].every((s) => s.getAttribute("role") === "img" && s.getAttribute("aria-label")),
        headings: [...document.querySelectorAll("h1, h2, h3")].map((h) => h.tagName).join(" "),
        duplicates: [...document.querySelectorAll("[id]")].length,
        sections: [...document.querySelectorAll("h2")].map((h) => h.textContent),
        hidden: [...document.querySelectorAll("svg text")].filter((t) => {
            const box = t.getBoundingClientRect(), of = t.closest("svg").getBoundingClientRect();
            return box.left < of.left - 2 || box.right > of.right + 2 || box.top < of.top - 2 || box.bottom > of.bottom + 2;
        }).map((t) => t.textContent),
        quirks: document.compatMode,
    }));
    want(structure.tables, "a table without caption or scopes of its headers");
    want(structure.pictures, "a picture without a name");
    want(/^H1 H2( H[23])*$/.test(structure.headings), "headings: " + structure.headings);
    want(structure.quirks === "CSS1Compat", "the document is in quirks mode");
    want(structure.hidden.length === 0, "text that is cut off in pictures: " + structure.hidden.slice(0, 5));
    for (const name of ["Before and after", "Curves", "Samples", "Change of the weights", "Data", "Time and memory"])
        want(structure.sections.includes(name), "no section " + name);
    if (asked.evil)
        want((await page.textContent("main")).includes("<img src=x onerror=alert(1)>"), "a sample is not shown as it is");
});
await look("report-dark", {viewport: wide, colorScheme: "dark"}, (page) => readable("dark", page));
const phone = await look("report-phone", {viewport: {width: 390, height: 844}, colorScheme: "light", isMobile: true, hasTouch: true},
    async (page) => {
        const small = await page.evaluate(() => Math.min(...[...document.querySelectorAll("figure:not(.whole) svg[role]")].map((s) =>
            13 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)));
        want(small >= 8, `on a phone text in pictures is ${small} pixels high`);
    });
// On paper: colours of light, whatever the screen has, and nothing that has to be scrolled.
await phone.emulateMedia({media: "print", colorScheme: "dark"});
await readable("print", phone);
want(await phone.evaluate(() => getComputedStyle(document.body).backgroundColor) === "rgb(255, 255, 255)", "paper is not white");
console.log("result " + JSON.stringify({problems}));
await browser.close();
process.exit(0);
