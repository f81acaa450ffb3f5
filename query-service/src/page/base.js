"use strict";
// What all parts of the page use: elements, the server, the state that the address carries.

const PAGE_SIZE = 10, DEBOUNCE_MS = 110, MAX_OFFSET = 10000, KEY = "warren-key";
const $ = (id) => document.getElementById(id);

/** What is searched; all of it stands in the address. */
/** The filter has one value for each field that narrows the search. */
const state = { query: "", index: "", page: 0, filter: {} };
/** The indexes that there are, with their definitions. */
let indexes = [];
let key = "";
try { key = sessionStorage.getItem(KEY) || ""; } catch { /* Storage is off: the key lives as long as the page. */ }

/** An element. Children that are text stay text, whatever they contain. */
function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const show = (node, visible) => { node.hidden = !visible; };
const count = (number) => number.toLocaleString();
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
const isText = (value) => typeof value === "string" && value.trim() !== "";

/** What the server refuses, or cannot do. */
class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    Object.assign(this, { status, code: problem.code, problem });
  }
}

/** Asks the server: JSON there, JSON back. Gives the status and the body, or throws. */
async function request(path, { method = "GET", body, type = "application/json", signal } = {}) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["content-type"] = type;
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer);
  return { status: response.status, answer };
}

const ask = async (path, options) => (await request(path, options)).answer;
const pathOf = (index, rest = "") => `indexes/${encodeURIComponent(index)}${rest}`;

/** The search that the state stands for, as the JSON request. */
function searchRequest() {
  const offset = Math.min(state.page * PAGE_SIZE, MAX_OFFSET);
  return { query: state.query, ...filterRequest(), limit: PAGE_SIZE, offset, lenient: true };
}

/** The request without what is the default anyway. */
function shortRequest() {
  const { offset, ...rest } = searchRequest();
  return { ...rest, ...(offset ? { offset } : {}) };
}

function readAddress() {
  const parameters = new URLSearchParams(location.search);
  state.query = parameters.get("q") || "";
  state.index = parameters.get("index") || state.index;
  state.page = Math.max(0, (parseInt(parameters.get("page"), 10) || 1) - 1);
  try {
    const values = Object.entries(JSON.parse(parameters.get("filter") || "{}")).filter(([, value]) => typeof value !== "object");
    state.filter = Object.fromEntries(values);
  } catch {
    state.filter = {};
  }
  $("query").value = state.query;
}

function writeAddress(push) {
  const parameters = new URLSearchParams();
  if (state.query) parameters.set("q", state.query);
  if (state.index) parameters.set("index", state.index);
  if (Object.keys(state.filter).length) parameters.set("filter", JSON.stringify(state.filter));
  if (state.page) parameters.set("page", state.page + 1);
  const address = `${location.pathname}${parameters.size ? `?${parameters}` : ""}`;
  if (address !== location.pathname + location.search) history[push ? "pushState" : "replaceState"](null, "", address);
  document.title = state.query ? `${state.query} – Warren` : "Warren";
}
