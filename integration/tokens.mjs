// Asks two other engines for token ids: node tokens.mjs REQUEST.json prints one JSON document.
//
// Request: {"texts": [text, …], "jobs": [{"engine": "llama" | "tokenizers", "path": file, "special": boolean}, …]}
//          llama is llama.cpp on a GGUF file; special says whether it looks for control tokens in a text
//          tokenizers is Hugging Face's library on a tokenizer.json; special says whether it adds special tokens
// Answer:  [[ids of a text, …] or an error's text, …], one for each job
import fs from "node:fs";

const {texts, jobs} = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
let engine;

async function llama({path, special}) {
    const {getLlama, LlamaLogLevel} = await import("node-llama-cpp");
    engine ??= await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, progressLogs: false});
    const model = await engine.loadModel({modelPath: path, gpuLayers: 0, vocabOnly: true});
    try {
        return texts.map((text) => Array.from(model.tokenize(text, special)));
    } finally {
        await model.dispose();
    }
}

async function tokenizers({path, special}) {
    const {Tokenizer} = (await import("tokenizers")).default;
    const tokenizer = Tokenizer.fromFile(path);
    const answers = [];
    for (let at = 0; at < texts.length; at += 1000) {
        const encodings = await tokenizer.encodeBatch(texts.slice(at, at + 1000), {addSpecialTokens: special});
        answers.push(...encodings.map((e) => e.getIds()));
    }
    return answers;
}

const answers = [];
for (const job of jobs) {
    try {
        answers.push(await {llama, tokenizers}[job.engine](job));
    } catch (error) {
        answers.push(String(error));
    }
}
process.stdout.write(JSON.stringify(answers));
await engine?.dispose();
