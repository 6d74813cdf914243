// The endpoint. Addresses are relative, so the page works behind any prefix.

const KEY = "motet-key"; // of this tab

export const useKey = (key) => sessionStorage.setItem(KEY, key);

async function call(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...options, headers });
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const said = answer?.detail?.map?.((one) => one.msg).join("; ");
  const error = new Error(said || answer?.status || `the endpoint answers ${response.status}`);
  throw Object.assign(error, { refused: response.status === 401 || response.status === 403 });
}

export const release = () => call("v1/release");
export const attributes = () => call("v1/attributes");
export const health = () => call("healthz");
export const similar = (item) => call(`v1/items/${encodeURIComponent(item)}/similar?k=8`);
export const search = (text, signal) => call(`v1/items?${new URLSearchParams({ search: text, limit: 8 })}`, { signal });

export function recommend(body, signal) {
  const headers = { "content-type": "application/json" };
  return call("v1/recommend?trace=true", { method: "POST", headers, body: JSON.stringify(body), signal });
}

const known = new Map();

/** Return {id: item} with titles and attributes; each is asked for once. */
export async function items(ids) {
  const missing = ids.filter((id) => !known.has(id));
  if (missing.length) {
    const asked = new URLSearchParams([["limit", 100], ...missing.map((id) => ["id", id])]);
    for (const item of (await call(`v1/items?${asked}`)).items) known.set(item.id, item);
  }
  return known;
}
