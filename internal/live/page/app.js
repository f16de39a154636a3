// The page of a training run. It is told the lines of the run's log by server-sent events: a snapshot first, then each
// line. It asks the network for nothing but what stands beside it.
"use strict";

const $ = (id) => document.getElementById(id);

// make is an element with a class and a text.
function make(tag, className, text) {
    const e = document.createElement(tag);
    if (className)
        e.className = className;
    if (text !== undefined)
        e.textContent = text;
    return e;
}

// Places in a point, as internal/live/curve.go has them.
const STEP = 0, STEPS = 1, TOKENS = 2, TARGETS = 3, SECONDS = 4, LOSS = 5, LOSS_MIN = 6, LOSS_MAX = 7, LR = 8, NORM = 9,
    NORM_MAX = 10, MEMORY = 11, EPOCH = 12;
const MOST_POINTS = 2000;

// addPoint adds the steps of point q, which come later, to p.
function addPoint(p, q) {
    const n = p[STEPS], m = q[STEPS];
    for (const at of [LOSS, NORM])
        p[at] = (n * p[at] + m * q[at]) / (n + m);
    for (const at of [STEPS, TOKENS, TARGETS, SECONDS])
        p[at] += q[at];
    p[LOSS_MIN] = Math.min(p[LOSS_MIN], q[LOSS_MIN]);
    for (const at of [LOSS_MAX, NORM_MAX, MEMORY])
        p[at] = Math.max(p[at], q[at]);
    for (const at of [STEP, LR, EPOCH])
        p[at] = q[at];
}

// Curve is all steps of the run in at most MOST_POINTS points.
class Curve {
    constructor(stride, points) {
        this.stride = stride;
        this.points = points;
    }

    place(p) {
        return Math.floor((p[STEP] - 1) / this.stride);
    }

    put(points, p) {
        const last = points[points.length - 1];
        if (last && this.place(last) === this.place(p))
            addPoint(last, p);
        else
            points.push(p);
    }

    add(p) {
        this.put(this.points, p);
        while (this.points.length > MOST_POINTS) {
            this.stride *= 2;
            const fewer = [];
            for (const q of this.points)
                this.put(fewer, q);
            this.points = fewer;
        }
    }
}

const pointOf = (l) => [l.step, 1, l.tokens, l.tokens_with_loss, l.seconds, l.loss, l.loss, l.loss, l.lr, l.grad_norm,
    l.grad_norm, l.memory, l.epoch];

// What is known of the run.
let curve = new Curve(1, []), evals = [], samples = [], start = null, end = null, over = null, can = {}, examples = 0;
let at = null; // the step under the cursor
let connected = false;

const number = (x, digits = 4) => {
    if (x === 0 || (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e5))
        return Number(x.toPrecision(digits)).toString();
    return x.toExponential(digits - 2).replace("e+", "e");
};
const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const count = (x) => whole.format(x);
const bytes = (x) => x >= 1e9 ? (x / 1e9).toFixed(2) + " GB" : (x / 1e6).toFixed(1) + " MB";
const rate = (p) => p[SECONDS] > 0 ? p[TOKENS] / p[SECONDS] : 0;

function duration(s) {
    s = Math.round(s);
    const two = (n) => String(n).padStart(2, "0");
    return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

// The curves.
const charts = [
    {name: "loss", of: (p) => p[LOSS], text: (x) => x.toFixed(4), dots: true, smooth: true},
    {name: "learning rate", of: (p) => p[LR], text: number},
    {name: "gradient norm", of: (p) => p[NORM], text: number, smooth: true},
    {name: "tokens a second", of: rate, text: count, tick: count, smooth: true},
    {name: "memory", of: (p) => p[MEMORY], text: bytes, tick: bytes},
];

function makeChart(c) {
    const figure = make("figure"), caption = make("figcaption");
    caption.append(make("span", "name", c.name));
    if (c.dots) {
        caption.append(make("span", "key", "training"), make("span", "key second", "evaluation"));
    }
    c.canvas = make("canvas");
    c.canvas.tabIndex = 0;
    c.canvas.setAttribute("role", "img");
    c.canvas.setAttribute("aria-label", `curve of ${c.name}; arrow keys read its values`);
    c.tip = make("div", "tip");
    c.tip.hidden = true;
    figure.append(caption, c.canvas, c.tip);
    $("charts").append(figure);
    c.canvas.addEventListener("pointermove", (e) => {
        if (!c.scale)
            return;
        const box = c.canvas.getBoundingClientRect();
        hover(c.scale.step(e.clientX - box.left));
    });
    c.canvas.addEventListener("pointerleave", () => hover(null));
    c.canvas.addEventListener("blur", () => hover(null));
    c.canvas.addEventListener("keydown", (e) => key(c, e));
}

// key moves the cursor along a curve.
function key(c, e) {
    const n = curve.points.length;
    if (n === 0)
        return;
    const now = at === null ? n - 1 : nearest(at);
    const to = {ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 20, PageDown: now + 20, Home: 0, End: n - 1}[e.key];
    if (e.key === "Escape")
        hover(null);
    else if (to !== undefined) {
        e.preventDefault();
        const p = curve.points[Math.max(0, Math.min(n - 1, to))];
        hover(p[STEP]);
        $("reading").textContent = `${c.name}, step ${p[STEP]}: ${c.text(c.of(p))}`;
    }
}

// nearest is the place of the point whose step is nearest.
function nearest(step) {
    const points = curve.points;
    let low = 0, high = points.length - 1;
    while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][STEP] < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && step - points[low - 1][STEP] < points[low][STEP] - step ? low - 1 : low;
}

function hover(step) {
    at = step;
    draw();
}

// smoothed is an exponential moving average that does not lean to its beginning, as the terminal has it.
function smoothed(points, of, share) {
    let sum = 0, weight = 0;
    return points.map((p) => {
        const keep = Math.pow(share, p[STEPS]);
        sum = keep * sum + (1 - keep) * of(p);
        weight = keep * weight + 1 - keep;
        return weight > 0 ? sum / weight : of(p);
    });
}

// ticks are round numbers from low to high, about n.
function ticks(low, high, n) {
    const raw = (high - low) / n, unit = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= raw * 0.999);
    const all = [];
    for (let x = Math.ceil(low / step - 1e-9) * step; x <= high + step * 1e-9; x += step)
        all.push(Math.abs(x) < step * 1e-9 ? 0 : x);
    return all;
}

// logTicks are 1, 2 and 5 times powers of ten, or round numbers where those are few.
function logTicks(low, high) {
    const all = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
        for (const k of [1, 2, 5])
            if (k * Math.pow(10, e) >= low && k * Math.pow(10, e) <= high)
                all.push(k * Math.pow(10, e));
    return all.length >= 3 ? all.slice(0, 12) : ticks(low, high, 4).filter((x) => x > 0);
}

function drawChart(c, colours, share, logarithmic) {
    const canvas = c.canvas, ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width === 0)
        return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = "11px system-ui, sans-serif";
    const points = curve.points, dots = c.dots ? evals : [];
    if (points.length === 0) {
        g.fillStyle = colours.faint;
        g.fillText("no step yet", 8, 20);
        return;
    }
    const values = points.map(c.of), line = c.smooth && share > 0 ? smoothed(points, c.of, share) : values;
    const usable = (x) => Number.isFinite(x) && (!logarithmic || x > 0);
    let low = Infinity, high = -Infinity;
    for (const list of [values, dots.map((e) => e.loss)])
        for (const x of list)
            if (usable(x)) {
                low = Math.min(low, x);
                high = Math.max(high, x);
            }
    if (!(low <= high))
        low = high = 1;
    if (low === high) {
        low = low > 0 ? low * 0.9 : low - 1;
        high = high > 0 ? high * 1.1 : high + 1;
    }
    const map = logarithmic ? Math.log : (x) => x;
    const pad = (map(high) - map(low)) * 0.05;
    const bottom = map(low) - pad, top = map(high) + pad;
    const marks = logarithmic ? logTicks(low, high) : ticks(low, high, 4);
    const texts = marks.map(c.tick || ((x) => number(x)));
    const left = Math.max(...texts.map((t) => g.measureText(t).width), 20) + 8, right = width - 8, base = height - 18;
    const first = Math.min(points[0][STEP], dots.length ? dots[0].step : Infinity);
    const last = points[points.length - 1][STEP];
    const x = (step) => left + (right - left) * (last > first ? (step - first) / (last - first) : 0.5);
    const y = (v) => base - (base - 8) * (map(v) - bottom) / (top - bottom);
    c.scale = {step: (px) => first + (last - first) * Math.max(0, Math.min(1, (px - left) / (right - left)))};

    g.strokeStyle = colours.line;
    g.fillStyle = colours.faint;
    g.lineWidth = 1;
    g.textAlign = "right";
    marks.forEach((m, i) => {
        const py = Math.round(y(m)) + 0.5;
        if (py < 4 || py > base + 1)
            return;
        g.beginPath();
        g.moveTo(left, py);
        g.lineTo(right, py);
        g.stroke();
        g.fillText(texts[i], left - 5, py + 4);
    });
    g.textAlign = "center";
    for (const m of last > first ? ticks(first, last, Math.max(2, Math.floor(width / 110))) : [first])
        if (Number.isInteger(m))
            g.fillText(count(m), Math.min(x(m), right - 12), height - 4);

    const stroke = (list, colour, alpha, thick) => {
        g.strokeStyle = colour;
        g.globalAlpha = alpha;
        g.lineWidth = thick;
        g.lineJoin = "round";
        g.beginPath();
        let down = false;
        list.forEach((v, i) => {
            if (!usable(v)) {
                down = false;
                return;
            }
            if (down)
                g.lineTo(x(points[i][STEP]), y(v));
            else
                g.moveTo(x(points[i][STEP]), y(v));
            down = true;
        });
        g.stroke();
        g.globalAlpha = 1;
    };
    if (line !== values)
        stroke(values, colours.a, 0.3, 1);
    stroke(line, colours.a, 1, 2);
    g.fillStyle = g.strokeStyle = colours.b;
    g.lineWidth = 1.5;
    g.beginPath();
    const held = dots.filter((e) => usable(e.loss));
    held.forEach((e, i) => i ? g.lineTo(x(e.step), y(e.loss)) : g.moveTo(x(e.step), y(e.loss)));
    g.stroke();
    for (const e of held) {
        g.beginPath();
        g.arc(x(e.step), y(e.loss), held.length > 100 ? 1.5 : 3.5, 0, 2 * Math.PI);
        g.fill();
    }

    c.tip.hidden = at === null;
    if (at === null)
        return;
    const i = nearest(at), p = points[i], px = x(p[STEP]);
    g.strokeStyle = colours.faint;
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(px, 4);
    g.lineTo(px, base);
    g.stroke();
    let text = `step ${count(p[STEP])}  ${c.text(values[i])}`;
    if (line !== values)
        text += `\nsmoothed ${c.text(line[i])}`;
    if (p[STEPS] > 1 && c.dots)
        text += `\n${p[STEPS]} steps, ${c.text(p[LOSS_MIN])} to ${c.text(p[LOSS_MAX])}`;
    const near = held.length ? held.reduce((a, b) => Math.abs(b.step - p[STEP]) < Math.abs(a.step - p[STEP]) ? b : a) : null;
    if (near)
        text += `\nevaluation at ${count(near.step)}  ${c.text(near.loss)}`;
    c.tip.textContent = text;
    const room = width - c.tip.offsetWidth;
    c.tip.style.left = Math.max(4, Math.min(room, px + 20)) + "px";
    c.tip.style.top = "34px";
}

// draw draws once before one of the next frames, however often it is called, and takes a quarter of the time at most.
let due = false, rest = 0, newSamples = false;
function draw() {
    if (due)
        return;
    due = true;
    setTimeout(() => requestAnimationFrame(() => {
        const began = performance.now();
        due = false;
        const style = getComputedStyle(document.documentElement);
        const colours = {};
        for (const name of ["a", "b", "faint", "line"])
            colours[name] = style.getPropertyValue("--" + name).trim();
        const share = Number($("smoothing").value), logarithmic = $("log").checked;
        for (const c of charts)
            drawChart(c, colours, share, logarithmic);
        showFigures();
        if (newSamples)
            showSamples();
        rest = 3 * (performance.now() - began);
    }), rest < 8 ? 0 : rest);
}

function figures(list) {
    const dl = $("figures");
    while (dl.children.length > list.length)
        dl.lastChild.remove();
    list.forEach(([name, value], i) => {
        let div = dl.children[i];
        if (!div) {
            div = make("div");
            div.append(make("dt"), make("dd"));
            dl.append(div);
        }
        div.firstChild.textContent = name;
        div.lastChild.textContent = value;
    });
}

function showFigures() {
    const points = curve.points, p = points[points.length - 1];
    const steps = start ? start.steps : 0, step = p ? p[STEP] : start ? start.step : 0;
    $("progress").max = Math.max(1, steps);
    $("progress").value = step;
    const list = [["step", `${count(step)} / ${count(steps)}`]];
    if (p) {
        const loss = smoothed(points.slice(-200), (q) => q[LOSS], Number($("smoothing").value));
        const recent = points.slice(-20);
        const seconds = recent.reduce((s, q) => s + q[SECONDS], 0), n = recent.reduce((s, q) => s + q[STEPS], 0);
        const tokens = recent.reduce((s, q) => s + q[TOKENS], 0), targets = recent.reduce((s, q) => s + q[TARGETS], 0);
        list.push(["loss, smoothed", loss[loss.length - 1].toFixed(4)]);
        const own = evals.filter((e) => !e.base);
        if (own.length)
            list.push(["evaluation, best", Math.min(...own.map((e) => e.loss)).toFixed(4)]);
        list.push(["epoch", p[EPOCH].toFixed(2)], ["learning rate", number(p[LR], 3)], ["tokens/s", seconds > 0 ? count(tokens / seconds) : "–"]);
        list.push(["tokens with loss", tokens > 0 ? (100 * targets / tokens).toFixed(1) + " %" : "–"]);
        list.push(["memory", bytes(p[MEMORY])]);
        list.push(["time left", over || end ? "–" : duration(seconds / n * (steps - step))]);
    }
    figures(list);
    const pct = steps ? Math.floor(100 * step / steps) + " % · " : "";
    document.title = pct + (start && start.base ? start.base.split(/[\\/]/).pop() : "training");
}

function showStatus() {
    const s = $("status");
    s.className = over && over.state === "failed" || !connected && !over ? "bad" : over && over.state === "finished" ? "good" : "";
    if (over)
        s.textContent = over.text;
    else if (!connected)
        s.textContent = "no connection; trying again";
    else
        s.textContent = end ? "finished" : start ? "training" : "measuring the base";
    const running = connected && !over && !end;
    $("stop").hidden = !can.stop;
    $("evaluate").hidden = !can.evaluate;
    $("ask").hidden = !can.sample;
    for (const id of ["stop", "evaluate", "sample"])
        $(id).disabled = !running;
}

function showAbout() {
    if (!start)
        return;
    $("title").textContent = `${start.adapter || "adapter"} over ${start.base ? start.base.split(/[\\/]/).pop() : "a base"}`;
    const m = start.memory || {};
    const data = (d) => d ? `${count(d.examples)} examples, ${count(d.tokens)} tokens, ${count(d.tokens_with_loss)} with loss` +
        (d.files ? ` (${d.files.join(", ")})` : "") : "";
    const list = [
        ["base", [start.base, start.architecture, start.base_bytes ? bytes(start.base_bytes) : ""].filter(Boolean).join(", ")],
        ["adapter", [start.adapter, `${count(start.parameters)} parameters`].filter(Boolean).join(", ")],
        ["written to", start.out], ["data", data(start.data)],
        ["evaluation", start.evaluation && start.evaluation.sample ? "a sample of the training data: " + data(start.evaluation) : data(start.evaluation)],
        ["learning rate", `${number(start.lr)} at its highest, ${start.schedule}`],
        ["batch", start.batch_tokens ? `${count(start.batch_tokens)} tokens` : ""], ["seed", String(start.seed)],
        ["precision", [start.precision, start.precision_reason].filter(Boolean).join(": ")],
        ["memory, planned", m.total ? `${bytes(m.total)}: weights ${bytes(m.weights)}, activations ${bytes(m.activations)}, adapter ${bytes(m.adapter)}` : ""],
        ["machine", start.machine], ["version", start.version], ["command", (start.command || []).join(" ")],
    ];
    const dl = $("about");
    dl.replaceChildren();
    for (const [name, value] of list)
        if (value)
            dl.append(make("dt", "", name), make("dd", "", value));
}

// sampleOf is an answer and when it was given.
function sampleOf(s) {
    const all = [make("div", "when", s.base ? "the base" : `after step ${count(s.step)}`)];
    all.push(s.error ? make("pre", "error", s.error) : make("pre", "", s.text));
    return all;
}

// showSamples shows the answers to each prompt, the last first; of many, the older ones behind a line to open.
function showSamples() {
    newSamples = false;
    if (samples.length === 0)
        return;
    const opened = new Set([...document.querySelectorAll("#samples details[open]")].map((d) => d.dataset.key));
    const groups = new Map();
    for (const s of samples) {
        const name = s.number < 0 ? "asked " + s.prompt : s.number + " " + s.prompt;
        if (!groups.has(name))
            groups.set(name, []);
        groups.get(name).push(s);
    }
    const list = [...groups].sort((a, b) => (a[1][0].number < 0) === (b[1][0].number < 0) ? 0 : a[1][0].number < 0 ? -1 : 1);
    const box = document.createDocumentFragment();
    for (const [name, group] of list) {
        const article = make("article");
        article.append(make("h3", "", group[0].prompt));
        const newest = [...group].reverse(), base = group.find((s) => s.base);
        const shown = newest.slice(0, 2), rest = newest.slice(2).filter((s) => s !== base).slice(0, 100);
        for (const s of shown)
            article.append(...sampleOf(s));
        if (rest.length) {
            const details = make("details");
            details.dataset.key = name;
            details.open = opened.has(name);
            details.append(make("summary", "", `${rest.length} before`));
            for (const s of rest)
                details.append(...sampleOf(s));
            article.append(details);
        }
        if (base && !shown.includes(base))
            article.append(...sampleOf(base));
        box.append(article);
    }
    $("samples").replaceChildren(box);
}

// The data.
const PAGE = 3;
let from = 0;
async function showData() {
    $("data-section").hidden = examples === 0;
    if (examples === 0)
        return;
    const answer = await fetch(`examples?from=${from}&n=${PAGE}`).catch(() => null);
    if (!answer || !answer.ok)
        return;
    const list = await answer.json();
    const box = document.createDocumentFragment();
    for (const e of list) {
        const article = make("article"), text = make("pre");
        article.append(make("h3", "", `example ${count(e.number)}: ${count(e.tokens)} tokens, ${count(e.learned)} with loss`));
        for (const s of e.segments)
            text.append(make("span", s.learn ? "learn" : "seen", s.text));
        if (e.cut)
            text.append(make("span", "when", " …"));
        article.append(text);
        box.append(article);
    }
    $("data").replaceChildren(box);
    $("place").textContent = `${from + 1} to ${from + list.length} of ${examples} that are shown`;
    $("before").disabled = from === 0;
    $("after").disabled = from + PAGE >= examples;
}

// ask asks the run for something.
async function ask(what, body, said) {
    const answer = await fetch(what, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)}).catch(() => null);
    $("asked").textContent = answer && answer.ok ? said : answer ? await answer.text() : "no connection";
    return answer && answer.ok;
}

// take takes a line of the log.
function take(l) {
    switch (l.kind) {
    case "start":
        start = l;
        showAbout();
        showStatus();
        break;
    case "step":
        curve.add(pointOf(l));
        break;
    case "eval":
        evals.push(l);
        if (l.asked)
            $("asked").textContent = `loss ${l.loss.toFixed(4)} after step ${count(l.step)}`;
        break;
    case "sample":
        samples.push(l);
        if (samples.length > 2000)
            samples.shift();
        if (l.number < 0)
            $("asked").textContent = "answered";
        newSamples = true;
        break;
    case "checkpoint":
        $("asked").textContent = `checkpoint of step ${count(l.step)} written`;
        break;
    case "end":
        end = l;
        showStatus();
        break;
    }
    draw();
}

function connect() {
    const source = new EventSource("events");
    source.addEventListener("open", () => {
        connected = true;
        showStatus();
    });
    source.addEventListener("error", () => {
        connected = false;
        showStatus();
    });
    source.addEventListener("snapshot", (e) => {
        const s = JSON.parse(e.data);
        curve = new Curve(s.steps.stride, s.steps.points || []);
        evals = s.evals || [];
        samples = s.samples || [];
        start = s.starts && s.starts.length ? s.starts[s.starts.length - 1] : null;
        end = (s.others || []).find((l) => l.kind === "end") || null;
        over = s.over;
        can = s.can || {};
        examples = s.examples;
        showAbout();
        showStatus();
        showSamples();
        showData();
        draw();
    });
    source.addEventListener("line", (e) => take(JSON.parse(e.data)));
    source.addEventListener("over", (e) => {
        over = JSON.parse(e.data);
        source.close();
        showStatus();
        draw();
    });
}

charts.forEach(makeChart);
$("smoothing").addEventListener("input", draw);
$("log").addEventListener("change", draw);
$("evaluate").addEventListener("click", () => ask("evaluate", {}, "asked: the evaluation follows the step in work"));
$("stop").addEventListener("click", () => $("confirm").showModal());
$("confirm-no").addEventListener("click", () => $("confirm").close());
$("confirm-yes").addEventListener("click", () => {
    $("confirm").close();
    ask("stop", {}, "asked: the run stops after the step in work");
});
$("sample").addEventListener("click", () => ask("sample", {prompt: $("prompt").value}, "asked: the answer follows the step in work"));
$("before").addEventListener("click", () => {
    from = Math.max(0, from - PAGE);
    showData();
});
$("after").addEventListener("click", () => {
    from = Math.min(examples - 1, from + PAGE);
    showData();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new ResizeObserver(draw).observe($("charts"));
connect();
