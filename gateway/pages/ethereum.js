// A wallet in the browser (EIP-1193), asked for its address and for a signature, and for nothing else.

import { Problem } from "./api.js";

const told = (error) => new Problem(400, { detail: error.code === 4001 ? "You said no in your wallet. Nothing has changed." : `The wallet says: ${error.message ?? "no"}` });

/** The wallet's address; throws Problem. */
export async function address() {
  try {
    const [first] = await globalThis.ethereum.request({ method: "eth_requestAccounts" });
    return first;
  } catch (error) {
    throw told(error);
  }
}

/** The chain that the wallet is on. */
export const chain = async () => Number(await globalThis.ethereum.request({ method: "eth_chainId" }));

/** EIP-191's personal_sign of a text, byte for byte. */
export async function personalSign(text, signer) {
  const bytes = new TextEncoder().encode(text);
  const hex = `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  try {
    return await globalThis.ethereum.request({ method: "personal_sign", params: [hex, signer] });
  } catch (error) {
    throw told(error);
  }
}
