// What programs for OpenAI's API do, with the official JavaScript client, against a running server.
//
//   BASE_URL=http://127.0.0.1:8000 SPEECH=docs/audio/question.wav node tests/clients/openai.mjs
//
// SPEECH asks "What is the capital of France?". SLOW_URL is where a reply takes long (BASE_URL if it
// is not set); TRANSLATES=0 says that the model cannot; with KEYED_URL and API_KEY, keys are tried.
// openai_python.py does the same in Python.

import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";

import OpenAI, {
  AuthenticationError,
  BadRequestError,
  NotFoundError,
} from "openai";

const { BASE_URL, SPEECH, KEYED_URL, API_KEY, TRANSLATES = "1" } = process.env;
const SLOW_URL = process.env.SLOW_URL ?? BASE_URL;

const clientOf = (url, apiKey = "none") =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 120_000 });
const client = clientOf(BASE_URL);

const ASKED = [{ role: "user", content: "What is the capital of France?" }];
const ask = (more = {}) =>
  client.chat.completions.create({
    model: "gpt-4o-mini",
    messages: ASKED,
    seed: 1,
    temperature: 0.2,
    max_tokens: 48,
    ...more,
  });
const recording = () => fs.createReadStream(SPEECH);
const transcribe = (more = {}) =>
  client.audio.transcriptions.create({ file: recording(), model: "whisper-1", ...more });
const speak = (more = {}) =>
  client.audio.speech.create({
    model: "tts-1",
    voice: "alloy",
    input: "The sea is calm today.",
    ...more,
  });
const bytesOf = async (answer) => Buffer.from(await answer.arrayBuffer());
const words = (text) => text.toLowerCase().match(/[a-z]+/g).join(" ");
const heard = (text) => assert.equal(words(text), "what is the capital of france");

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

async function refused(kind, call, expected) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    assert.ok(error.requestID);
    for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value);
    return true;
  });
}

// ---- models ----

test("every model that is listed can be read", async () => {
  const models = await all(await client.models.list());
  assert.ok(models.length >= 3);
  for (const model of models) {
    assert.equal(model.object, "model");
    assert.equal((await client.models.retrieve(model.id)).id, model.id);
  }
});

test("a model that does not exist is not found", () =>
  refused(NotFoundError, () => client.models.retrieve("nothing/here"), {
    status: 404,
    code: "model_not_found",
  }));

// ---- chat ----

test("a question is answered", async () => {
  const { id, object, choices, usage } = await ask();
  assert.match(id, /^chatcmpl-/);
  assert.equal(object, "chat.completion");
  assert.equal(choices.length, 1);
  assert.equal(choices[0].message.role, "assistant");
  assert.match(choices[0].message.content, /Paris/);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.ok(usage.completion_tokens > 0);
});

test("an answer is streamed, its usage last", async () => {
  const chunks = await all(await ask({ stream: true, stream_options: { include_usage: true } }));
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  const usage = chunks.pop();
  assert.deepEqual(usage.choices, []);
  assert.ok(usage.usage.completion_tokens > 0);
  const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  assert.match(text, /Paris/);
  assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
});

test("the client's own stream runner puts the answer together", async () => {
  const runner = client.chat.completions.stream({
    model: "gpt-4o-mini",
    messages: ASKED,
    max_tokens: 48,
    seed: 1,
    temperature: 0.2,
  });
  assert.match(await runner.finalContent(), /Paris/);
});

test("a stop ends the answer before it", async () => {
  const { choices } = await ask({ stop: ["Paris"] });
  assert.doesNotMatch(choices[0].message.content, /Paris/);
  assert.equal(choices[0].finish_reason, "stop");
});

test("several answers are given", async () => {
  const { choices } = await ask({ n: 2, max_tokens: 8 });
  assert.deepEqual(choices.map((choice) => choice.index), [0, 1]);
});

const CITY = {
  type: "object",
  properties: {
    city: { type: "string", enum: ["Paris", "Rome"] },
    people: { type: "integer", minimum: 0, maximum: 99 },
  },
  required: ["city", "people"],
  additionalProperties: false,
};

function isCity(text) {
  const { city, people, ...rest } = JSON.parse(text);
  assert.ok(CITY.properties.city.enum.includes(city), text);
  assert.ok(Number.isInteger(people) && people >= 0 && people <= 99, text);
  assert.deepEqual(rest, {});
}

test("an answer keeps to a JSON schema", async () => {
  const { choices } = await ask({
    response_format: {
      type: "json_schema",
      json_schema: { name: "city", strict: true, schema: CITY },
    },
  });
  isCity(choices[0].message.content);
});

const TOOLS = [
  {
    type: "function",
    function: { name: "look_up", description: "Looks up a city.", parameters: CITY, strict: true },
  },
];

test("a tool is called, and its result is taken up", async () => {
  const { choices } = await ask({ tools: TOOLS, tool_choice: "required" });
  const [{ message, finish_reason }] = choices;
  assert.equal(finish_reason, "tool_calls");
  const [call] = message.tool_calls;
  assert.equal(call.type, "function");
  assert.equal(call.function.name, "look_up");
  isCity(call.function.arguments);
  const result = { role: "tool", tool_call_id: call.id, content: '{"people": 2}' };
  const next = await ask({ messages: [...ASKED, message, result], tools: TOOLS, tool_choice: "none" });
  assert.ok(next.choices[0].message.content);
});

test("a tool call is streamed piece by piece", async () => {
  const chunks = await all(await ask({ tools: TOOLS, tool_choice: "required", stream: true }));
  const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert.ok(calls[0].id);
  assert.equal(calls[0].function.name, "look_up");
  const first = calls.filter((call) => call.index === 0);
  isCity(first.map((call) => call.function.arguments ?? "").join(""));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
});

test("spoken questions are heard, and answers are spoken", async () => {
  const data = fs.readFileSync(SPEECH).toString("base64");
  const { choices } = await ask({
    messages: [{ role: "user", content: [{ type: "input_audio", input_audio: { data, format: "wav" } }] }],
    modalities: ["text", "audio"],
    audio: { voice: "alloy", format: "wav" },
  });
  const { audio } = choices[0].message;
  assert.match(audio.transcript, /Paris/);
  assert.ok(audio.id);
  assert.ok(audio.expires_at > 0);
  const wav = Buffer.from(audio.data, "base64");
  assert.equal(wav.subarray(0, 4).toString(), "RIFF");
  assert.ok(wav.length > 10_000);
});

test("a spoken answer is streamed", async () => {
  const chunks = await all(
    await ask({ modalities: ["text", "audio"], audio: { voice: "alloy", format: "pcm16" }, stream: true }),
  );
  const pieces = chunks.flatMap((chunk) => chunk.choices[0]?.delta.audio ?? []);
  assert.match(pieces.map((piece) => piece.transcript ?? "").join(""), /Paris/);
  const pcm = Buffer.concat(pieces.map((piece) => Buffer.from(piece.data ?? "", "base64")));
  assert.ok(pcm.length > 10_000);
  assert.equal(pcm.length % 2, 0);
});

test("a stream can be left in the middle", async () => {
  const stream = await clientOf(SLOW_URL).chat.completions.create({
    model: "gpt-4o-mini",
    messages: [{ role: "user", content: "Tell me all about the sea." }],
    max_tokens: 400,
    stream: true,
  });
  const texts = [];
  for await (const chunk of stream) {
    texts.push(chunk.choices[0].delta.content ?? "");
    if (texts.join("")) break;
  }
  assert.ok(stream.controller.signal.aborted);
});

test("a temperature that is too high is refused by name", () =>
  refused(BadRequestError, () => ask({ temperature: 3 }), { status: 400, param: "temperature" }));

test("a chat with a model that does not exist is refused", () =>
  refused(NotFoundError, () => ask({ model: "nothing" }), { code: "model_not_found" }));

// ---- completions ----

const CONTINUE = { model: "gpt-3.5-turbo-instruct", prompt: "The capital of France is", max_tokens: 8 };

test("a text is continued", async () => {
  const { object, choices, usage } = await client.completions.create(CONTINUE);
  assert.equal(object, "text_completion");
  assert.ok(choices[0].text);
  assert.ok(usage.completion_tokens <= 8);
});

test("a text is continued as a stream", async () => {
  const chunks = await all(await client.completions.create({ ...CONTINUE, stream: true }));
  assert.ok(chunks.map((chunk) => chunk.choices[0].text).join(""));
});

// ---- hearing ----

test("a recording is transcribed", async () => heard((await transcribe()).text));

test("a transcript has the times of segments and words", async () => {
  const { text, language, duration, segments, words } = await transcribe({
    response_format: "verbose_json",
    timestamp_granularities: ["segment", "word"],
    language: "en",
    temperature: 0,
  });
  heard(text);
  assert.equal(language, "english");
  assert.ok(duration > 1);
  heard(segments.map((segment) => segment.text).join(""));
  heard(words.map((word) => word.word).join(" "));
  assert.ok(words.every((word) => word.start <= word.end));
});

test("a transcript comes as text", async () => heard(await transcribe({ response_format: "text" })));

test("a transcript comes as SRT", async () =>
  assert.match(await transcribe({ response_format: "srt" }), /^1\n00:00:00,\d{3} --> 00:00:\d\d,\d{3}\n/));

test("a transcript comes as WebVTT", async () =>
  assert.match(await transcribe({ response_format: "vtt" }), /^WEBVTT\n\n00:00:00\.\d{3} --> /));

test("a transcript is streamed", async () => {
  const events = await all(await transcribe({ stream: true }));
  const done = events.pop();
  assert.equal(done.type, "transcript.text.done");
  assert.ok(events.every((event) => event.type === "transcript.text.delta"));
  heard(done.text);
  assert.equal(events.map((event) => event.delta).join(""), done.text);
});

test("a recording is translated, if the model can", async () => {
  const translate = () => client.audio.translations.create({ file: recording(), model: "whisper-1" });
  if (TRANSLATES === "1") heard((await translate()).text);
  else await refused(BadRequestError, translate, { status: 400 });
});

test("a file that is no audio is refused", () =>
  refused(
    BadRequestError,
    async () =>
      client.audio.transcriptions.create({
        file: await OpenAI.toFile(Buffer.from("no audio at all"), "a.wav"),
        model: "whisper-1",
      }),
    { status: 400, param: "file" },
  ));

// ---- speaking ----

const FORMATS = {
  mp3: ["audio/mpeg", /^(ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb])/],
  opus: ["audio/ogg", /^OggS/],
  aac: ["audio/aac", /^\xff[\xf0\xf1\xf8\xf9]/],
  flac: ["audio/flac", /^fLaC/],
  wav: ["audio/wav", /^RIFF/],
};

for (const [format, [type, magic]] of Object.entries(FORMATS)) {
  test(`a text is spoken as ${format}`, async () => {
    const answer = await speak({ response_format: format });
    assert.equal(answer.headers.get("content-type").split(";")[0], type);
    const audio = await bytesOf(answer);
    assert.ok(audio.length > 1000);
    assert.match(audio.subarray(0, 4).toString("latin1"), magic);
  });
}

test("speech is MP3 where no format is asked for", async () => {
  assert.match((await bytesOf(await speak())).subarray(0, 3).toString("latin1"), FORMATS.mp3[1]);
});

test("fast speech is short", async () => {
  const [fast, plain] = await Promise.all(
    [2, 1].map(async (speed) => (await bytesOf(await speak({ response_format: "pcm", speed }))).length),
  );
  assert.equal(plain % 2, 0);
  assert.ok(fast < 0.75 * plain, `${fast} of ${plain} bytes`);
});

test("speech comes as events", async () => {
  const answer = await speak({ response_format: "wav", stream_format: "sse" });
  const events = (await answer.text())
    .split("\n\n")
    .filter(Boolean)
    .map((event) => JSON.parse(event.replace(/^data: /, "")));
  const done = events.pop();
  assert.equal(done.type, "speech.audio.done");
  assert.ok(done.usage.total_tokens > 0);
  const audio = Buffer.concat(events.map((event) => Buffer.from(event.audio, "base64")));
  assert.equal(audio.subarray(0, 4).toString(), "RIFF");
});

test("a voice that does not exist is refused", () =>
  refused(OpenAI.APIError, () => speak({ voice: "nobody" }), { code: "voice_not_found" }));

// ---- keys ----

test("a wrong key is refused, the right one is not", { skip: !KEYED_URL }, async () => {
  await refused(AuthenticationError, () => clientOf(KEYED_URL, "wrong").models.list(), {
    status: 401,
  });
  assert.ok((await clientOf(KEYED_URL, API_KEY).models.list()).data.length);
});
