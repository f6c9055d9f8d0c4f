// Bytes as text, for links and for what travels inside the page.

/** Base64 -> bytes; raises an error where the text is none. */
export const toBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Bytes -> base64. */
export const toText = (bytes) => btoa(String.fromCharCode(...bytes));
