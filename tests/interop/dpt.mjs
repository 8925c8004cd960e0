// A discovery node of an independent implementation, driven by tests over stdin and stdout.
//
//   node dpt.mjs [--boot HOST:PORT]...
//
// Prints one JSON event a line; ends when its stdin closes.

import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { Common, Mainnet } from '@ethereumjs/common';
import { DPT } from '@ethereumjs/devp2p';
import { bytesToUnprefixedHex } from '@ethereumjs/util';
import { secp256k1 } from 'ethereum-cryptography/secp256k1.js';

const HOST = '127.0.0.1';
const REFRESH_MS = 1000; // ten times as often it asks some of its peers for neighbours
const TIMEOUT_MS = 2000;
const TCP_PORT = 30399; // nobody listens there: this node is only found

const { values: options } = parseArgs({
  options: {
    boot: { type: 'string', multiple: true, default: [] },
    'lifetime-s': { type: 'string', default: '60' },
  },
});

const emit = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

const endpoint = { address: HOST, udpPort: null, tcpPort: TCP_PORT };
const dpt = new DPT(secp256k1.utils.randomPrivateKey(), {
  endpoint,
  refreshInterval: REFRESH_MS,
  timeout: TIMEOUT_MS,
  common: new Common({ chain: Mainnet }),
});

function end() {
  dpt.destroy();
  process.exit(0);
}

dpt.events.on('peer:added', (peer) =>
  emit('found', { node_id: bytesToUnprefixedHex(peer.id), host: peer.address, udp_port: peer.udpPort }),
);
dpt.events.on('error', (error) => emit('error', { text: String(error.message) }));
dpt.events.on('listening', () => {
  endpoint.udpPort = dpt._server._socket.address().port;
  emit('listening', { port: endpoint.udpPort, tcp_port: TCP_PORT, node_id: bytesToUnprefixedHex(dpt.id) });
  for (const boot of options.boot) {
    const [address, udpPort] = boot.split(':');
    dpt.bootstrap({ address, udpPort: Number(udpPort), tcpPort: Number(udpPort) });
  }
});

createInterface({ input: process.stdin }).on('close', end);
setTimeout(end, Number(options['lifetime-s']) * 1000);
dpt.bind(0, HOST);
