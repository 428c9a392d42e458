import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** An authority of its own, with a server's certificate for 127.0.0.1 and a client's: ca.pem, server.pem, cert.pem and their keys. */
export async function certificates(folder: string, days = 2): Promise<void> {
  await mkdir(folder, { recursive: true });
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => promisify(execFile)('openssl', args);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl('req', '-x509', ...key, '-keyout', at('ca-key.pem'), '-out', at('ca.pem'), '-subj', '/CN=katafleet tests', '-days', '2');
  const sign = async (name: string, keyName: string, extensions: string) => {
    await openssl('req', ...key, '-keyout', at(keyName), '-out', at('request.pem'), '-subj', `/CN=${name}`);
    await writeFile(at('extensions'), extensions);
    const signed = ['-in', at('request.pem'), '-out', at(`${name}.pem`), '-extfile', at('extensions'), '-days', String(days)];
    await openssl('x509', '-req', '-CA', at('ca.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial', ...signed);
  };
  await sign('server', 'server-key.pem', 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n');
  await sign('cert', 'key.pem', 'extendedKeyUsage=clientAuth\n');
}
