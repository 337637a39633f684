// Makes the calls of a recorded jsii session in process, as a TypeScript program
// would: the same objects and templates, without jsii's start and round trips.
//
//	node twin.js <node_modules> <trace>
//
// Trace holds jsii's requests, one a line, and trace.responses its answers.
"use strict";

const fs = require("fs");
const path = require("path");

const [modules, trace] = process.argv.slice(2);
const lines = (file) => fs.readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const requests = lines(trace).filter((request) => request.api);
const responses = lines(trace + ".responses").filter((response) => !response.hello);

const loaded = {};
const objects = {}; // by the reference jsii gave
const tokens = {}; // by the text or number of the recording, since their numbers differ

const marker = /[$#]\{Token\[[^\]]*\]\}/g;

// type finds a class or enum by its name in jsii: aws-cdk-lib.aws_sqs.Queue.
function type(name) {
  const [assembly, ...names] = name.split(".");
  return names.reduce((at, each) => at[each], loaded[assembly]);
}

// decode turns an argument of a request into what JavaScript passes.
function decode(value) {
  if (value === null) return undefined;
  if (typeof value === "string") return value.replace(marker, (token) => tokens[token] ?? token);
  if (typeof value !== "object") return tokens[value] ?? value;
  if (Array.isArray(value)) return value.map(decode);
  if ("$jsii.byref" in value) return objects[value["$jsii.byref"]];
  if ("$jsii.struct" in value) return decodeAll(value["$jsii.struct"].data);
  if ("$jsii.map" in value) return decodeAll(value["$jsii.map"]);
  if ("$jsii.enum" in value) {
    const [name, member] = value["$jsii.enum"].split("/");
    return type(name)[member];
  }
  if ("$jsii.date" in value) return new Date(value["$jsii.date"]);
  return decodeAll(value);
}

const decodeAll = (values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [key, decode(value)]));

// register remembers the objects and tokens of a result under what the response
// calls them.
function register(response, result) {
  if (response === null || result === undefined) return;
  if (typeof response === "string") {
    const mine = result.match(marker);
    response.match(marker)?.forEach((token, i) => (tokens[token] = mine[i]));
    return;
  }
  if (typeof response === "number" && response !== result) tokens[response] = result;
  if (typeof response !== "object") return;
  const reference = response["$jsii.byref"];
  if (reference) objects[reference] = result;
  else if (Array.isArray(response)) response.forEach((each, i) => register(each, result[i]));
  else for (const [key, each] of Object.entries(response["$jsii.map"] ?? response)) register(each, result[key]);
}

function call(request) {
  const args = (request.args ?? []).map(decode);
  const of = request.objref && objects[request.objref["$jsii.byref"]];
  switch (request.api) {
    case "load":
      loaded[request.name] = require(path.join(modules, request.name));
      return;
    case "create":
      if (request.overrides?.length) throw new Error(`${request.fqn} has methods in Go`);
      return new (type(request.fqn))(...args);
    case "invoke":
      return of[request.method](...args);
    case "sinvoke":
      return type(request.fqn)[request.method](...args);
    case "get":
      return of[request.property];
    case "sget":
      return type(request.fqn)[request.property];
    case "set":
      of[request.property] = decode(request.value);
      return;
    case "sset":
      type(request.fqn)[request.property] = decode(request.value);
      return;
    default:
      throw new Error(`no twin of the jsii call ${request.api}`);
  }
}

requests.forEach((request, i) => {
  const result = call(request);
  const ok = responses[i].ok;
  if (request.api === "create") register(ok, result);
  else register(ok?.result ?? ok?.value ?? null, result);
});
