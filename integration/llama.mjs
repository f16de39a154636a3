// Asks a real llama.cpp about a GGUF: node llama.mjs REQUEST.json prints one JSON document.
//
// Request: {"model": path, "adapters": [{"path", "scale"}], "state": file of a sequence to go on from,
//           "generate": {"ids": prompt, "n": tokens},          greedy continuation
//           "score": {"windows": [ids, …], "from": position},  mean negative log likelihood of each window's ids after "from"
//           "logits": ids,                                     the logits of all tokens after each
//           "save": {"ids": tokens to read, "path": where the state of the sequence goes}}
//          or a list of such requests.
// Answer:  {"generated": ids, "nll": mean, "scored": count, "Logits": [logits, …]}
//
// The key-value cache is F32, so that an F32 model is computed in F32 throughout.
import fs from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const asked = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
let request, model; // at work
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, progressLogs: false});

async function withSequence(size, use) {
    const context = await model.createContext({
        contextSize: size, batchSize: size, threads: 1, flashAttention: false, ignoreMemorySafetyChecks: true,
        experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
        lora: {adapters: (request.adapters ?? []).map(({path, scale}) => ({filePath: path, scale: scale ?? 1}))}
    });
    try {
        return await use(context.getSequence());
    } finally {
        await context.dispose();
    }
}

async function restore(sequence) {
    if (request.state)
        await sequence.loadStateFromFile(request.state, {acceptRisk: true});
}

async function generate({ids, n}) {
    return withSequence(ids.length + n + 64, async (sequence) => {
        await restore(sequence);
        const generated = [];
        for await (const id of sequence.evaluate(ids, {temperature: 0})) {
            generated.push(id);
            if (generated.length === n || model.isEogToken(id))
                break;
        }
        return generated;
    });
}

// What each scored position needs: the logit of the id that really follows, and the softmax's denominator.
function question(window, i, from) {
    if (i < from || i + 1 === window.length)
        return window[i];
    const logits = {filter: {tokens: [window[i + 1]], includeTop: 1}};
    return [window[i], {generateNext: {logits, totalLogitWeight: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0, seed: 1}}}];
}

async function score({windows, from}) {
    return withSequence(Math.max(...windows.map((w) => w.length)) + 64, async (sequence) => {
        let sum = 0, scored = 0;
        for (const window of windows) {
            await sequence.clearHistory();
            await restore(sequence);
            const answers = await sequence.controlledEvaluate(window.map((_, i) => question(window, i, from)));
            for (let i = from; i + 1 < window.length; i++) {
                const {logits, totalLogitWeight} = answers[i].next;
                sum += Math.log(totalLogitWeight) + Math.max(...logits.values()) - logits.get(window[i + 1]);
                scored++;
            }
        }
        return {nll: sum / scored, scored};
    });
}

async function save({ids, path}) {
    return withSequence(ids.length + 64, async (sequence) => {
        await sequence.evaluateWithoutGeneratingNewTokens(ids);
        await sequence.saveStateToFile(path);
    });
}

async function logits(ids) {
    return withSequence(ids.length + 64, async (sequence) => {
        await restore(sequence);
        const all = {logits: {filter: {includeTop: 1 << 20}}, options: {temperature: 1, topK: 0, topP: 1, minP: 0, seed: 1}};
        const answers = await sequence.controlledEvaluate(ids.map((id) => [id, {generateNext: all}]));
        return answers.map(({next}) => {
            const row = [];
            for (const [token, logit] of next.logits)
                row[token] = logit;
            return row;
        });
    });
}

async function answer() {
    const given = {};
    if (request.logits)
        given.Logits = await logits(request.logits);
    if (request.save)
        await save(request.save);
    if (request.generate)
        given.generated = await generate(request.generate);
    if (request.score)
        Object.assign(given, await score(request.score));
    return given;
}

const answers = [];
for (request of [asked].flat()) {
    model = await llama.loadModel({modelPath: request.model, gpuLayers: 0});
    answers.push(await answer());
    await model.dispose();
}
console.log(JSON.stringify(Array.isArray(asked) ? answers : answers[0]));
await llama.dispose();
