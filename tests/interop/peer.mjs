// An independent devp2p peer for the interop tests, on the npm package @ethereumjs/devp2p.
//
//   node peer.mjs listen --chain FILE [options]
//   node peer.mjs dial --port N --node-id HEX --chain FILE [options]
//
// Loopback only, no discovery, one remote peer at a time. Events go to stdout and commands come from
// stdin, one JSON object per line. Byte strings are hex without a prefix, message contents are nested
// lists of them, numbers that may be large are decimal strings. Commands:
//
//   {"send": "GET_BLOCK_HEADERS", "payload": [...]}   any eth message but Status
//   {"disconnect": 8}                                 a devp2p Disconnect with this reason
//
// It ends when stdin closes or after --lifetime-s, whichever is first.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';

import { createCustomCommon, Mainnet } from '@ethereumjs/common';
import { ETH, RLPx } from '@ethereumjs/devp2p';
import { RLP } from '@ethereumjs/rlp';
import { bigIntToBytes, bytesToBigInt, bytesToUnprefixedHex, unprefixedHexToBytes } from '@ethereumjs/util';
import { keccak256 } from 'ethereum-cryptography/keccak.js';
import { secp256k1 } from 'ethereum-cryptography/secp256k1.js';

const HOST = '127.0.0.1';
const CODES = {
  STATUS: 0x00,
  NEW_BLOCK_HASHES: 0x01,
  TRANSACTIONS: 0x02,
  GET_BLOCK_HEADERS: 0x03,
  BLOCK_HEADERS: 0x04,
  GET_BLOCK_BODIES: 0x05,
  BLOCK_BODIES: 0x06,
  NEW_BLOCK: 0x07,
  GET_NODE_DATA: 0x0d,
  NODE_DATA: 0x0e,
  GET_RECEIPTS: 0x0f,
  RECEIPTS: 0x10,
};
const NAMES = Object.fromEntries(Object.entries(CODES).map(([name, code]) => [code, name]));
const DIFFICULTY_FIELD = 7;
const MOST_HEADERS = 192n;
const CONNECT_TIMEOUT_MS = 10_000;
const FLUSH_MS = 100; // lets the Disconnect leave before the process ends

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    chain: { type: 'string' }, // gzip of concatenated block RLP, from genesis on
    eth: { type: 'string', multiple: true, default: ['63'] }, // each version to offer
    'network-id': { type: 'string', default: '1' },
    'total-difficulty': { type: 'string' }, // this and the two hashes: default from the chain
    'head-hash': { type: 'string' },
    'genesis-hash': { type: 'string' },
    'private-key': { type: 'string' },
    silent: { type: 'boolean', default: false }, // leaves requests unanswered
    'lifetime-s': { type: 'string', default: '60' },
    port: { type: 'string', default: '0' },
    'node-id': { type: 'string' },
  },
});

const emit = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
const toHex = (item) => (Array.isArray(item) ? item.map(toHex) : bytesToUnprefixedHex(item));
const fromHex = (item) => (Array.isArray(item) ? item.map(fromHex) : unprefixedHexToBytes(item));
const toBigInt = (bytes) => (bytes.length === 0 ? 0n : bytesToBigInt(bytes));
const toBytes = (number) => (number === 0n ? new Uint8Array() : bigIntToBytes(number));

class Chain {
  constructor(file) {
    this.blocks = [];
    this.numbers = new Map();
    this.totalDifficulty = 0n;
    let rest = Uint8Array.from(gunzipSync(readFileSync(file)));
    while (rest.length > 0) {
      const { data: [header, transactions, uncles], remainder } = RLP.decode(rest, true);
      const hash = keccak256(RLP.encode(header));
      this.numbers.set(bytesToUnprefixedHex(hash), BigInt(this.blocks.length));
      this.blocks.push({ header, body: [transactions, uncles], hash });
      this.totalDifficulty += toBigInt(header[DIFFICULTY_FIELD]);
      rest = remainder;
    }
  }

  headers([origin, amount, skip, reverse]) {
    let number = origin.length === 32 ? this.numbers.get(bytesToUnprefixedHex(origin)) : toBigInt(origin);
    const step = (toBigInt(skip) + 1n) * (toBigInt(reverse) === 1n ? -1n : 1n);
    const most = toBigInt(amount) < MOST_HEADERS ? toBigInt(amount) : MOST_HEADERS;
    const found = [];
    while (BigInt(found.length) < most && number >= 0n && number < BigInt(this.blocks.length)) {
      found.push(this.blocks[Number(number)].header);
      number += step;
    }
    return found;
  }

  bodies(hashes) {
    const numbers = hashes.map((hash) => this.numbers.get(bytesToUnprefixedHex(hash)));
    return numbers.filter((number) => number !== undefined).map((number) => this.blocks[Number(number)].body);
  }
}

const chain = new Chain(options.chain);
const status = {
  td: toBytes(BigInt(options['total-difficulty'] ?? chain.totalDifficulty)),
  bestHash: options['head-hash'] ? fromHex(options['head-hash']) : chain.blocks.at(-1).hash,
  genesisHash: options['genesis-hash'] ? fromHex(options['genesis-hash']) : chain.blocks[0].hash,
};

const rlpx = new RLPx(options['private-key'] ? fromHex(options['private-key']) : secp256k1.utils.randomPrivateKey(), {
  capabilities: options.eth.map((version) => ETH[`eth${version}`]),
  common: createCustomCommon({ chainId: Number(options['network-id']) }, Mainnet),
  maxPeers: 1,
  timeout: CONNECT_TIMEOUT_MS,
});
let remote = null;

function answer(eth, code, payload) {
  if (code === CODES.GET_BLOCK_HEADERS) {
    eth.sendMessage(CODES.BLOCK_HEADERS, chain.headers(payload));
  } else if (code === CODES.GET_BLOCK_BODIES) {
    eth.sendMessage(CODES.BLOCK_BODIES, chain.bodies(payload));
  }
}

function onPeer(peer) {
  const hello = peer.getHelloMessage();
  const [eth] = peer.getProtocols();
  remote = { peer, eth };
  emit('hello', {
    p2p_version: hello.protocolVersion,
    client_name: hello.clientId,
    capabilities: hello.capabilities.map(({ name, version }) => [name, version]),
    listen_port: hello.port,
    node_id: toHex(hello.id),
    eth_version: eth.getVersion(),
  });
  eth.events.on('status', ({ chainId, td, bestHash, genesisHash }) =>
    emit('status', {
      network_id: toBigInt(chainId).toString(),
      total_difficulty: toBigInt(td).toString(),
      head_hash: toHex(bestHash),
      genesis_hash: toHex(genesisHash),
    }),
  );
  eth.events.on('message', (code, payload) => {
    if (code === CODES.STATUS) return;
    emit('message', { name: NAMES[code], payload: toHex(payload) });
    if (!options.silent) answer(eth, code, payload);
  });
  eth.sendStatus(status);
}

function onCommand(line) {
  const command = JSON.parse(line);
  if (command.send !== undefined) remote.eth.sendMessage(CODES[command.send], fromHex(command.payload));
  if (command.disconnect !== undefined) remote.peer.disconnect(command.disconnect);
}

function end() {
  rlpx.destroy();
  setTimeout(() => process.exit(0), FLUSH_MS);
}

rlpx.events.on('peer:added', onPeer);
rlpx.events.on('peer:removed', (_peer, reason, byItself) => emit('disconnected', { reason, by_js: byItself === true }));
rlpx.events.on('peer:error', (_peer, error) => emit('error', { text: String(error.message) }));
rlpx.events.on('error', (error) => emit('error', { text: String(error.message) }));
rlpx.events.on('listening', () => emit('listening', { port: rlpx._server.address().port, node_id: toHex(rlpx.id) }));

const commands = createInterface({ input: process.stdin });
commands.on('line', onCommand);
commands.on('close', end);
setTimeout(end, Number(options['lifetime-s']) * 1000);

if (positionals[0] === 'listen') {
  rlpx.listen(Number(options.port), HOST);
} else if (positionals[0] === 'dial') {
  emit('dialing', { node_id: toHex(rlpx.id) });
  rlpx
    .connect({ id: fromHex(options['node-id']), address: HOST, tcpPort: Number(options.port) })
    .catch((error) => emit('error', { text: String(error.message) }));
} else {
  throw new Error(`unknown mode ${positionals[0]}: listen or dial`);
}
