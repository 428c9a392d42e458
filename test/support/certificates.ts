import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * Makes a certificate authority with a server's certificate for 127.0.0.1 and a client's: ca.pem, server.pem, cert.pem and their
 * keys. With `expired`, the server's and the client's certificates were valid for one day in 2020.
 */
export async function certificates(folder: string, { expired = false } = {}): Promise<void> {
  await mkdir(folder, { recursive: true });
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => promisify(execFile)('openssl', args);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl('req', '-x509', ...key, '-keyout', at('ca-key.pem'), '-out', at('ca.pem'), '-subj', '/CN=katafleet tests', '-days', '2');
  const sign = async (name: string, keyName: string, extensions: string) => {
    await openssl('req', ...key, '-keyout', at(keyName), '-out', at('request.pem'), '-subj', `/CN=${name}`);
    await writeFile(at('extensions'), extensions);
    const files = ['-in', at('request.pem'), '-out', at(`${name}.pem`), '-extfile', at('extensions')];
    if (expired) {
      // x509 can't set a start date in the past
      await writeFile(at('index'), '');
      await writeFile(at('authority'), authority(at('index'), at('serial')));
      const dates = ['-startdate', '20200101000000Z', '-enddate', '20200102000000Z'];
      await openssl(
        'ca',
        '-batch',
        '-notext',
        '-config',
        at('authority'),
        '-outdir',
        folder,
        '-cert',
        at('ca.pem'),
        '-keyfile',
        at('ca-key.pem'),
        ...dates,
        ...files,
      );
    } else {
      await openssl('x509', '-req', '-CA', at('ca.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial', '-days', '2', ...files);
    }
  };
  await sign('server', 'server-key.pem', 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n');
  await sign('cert', 'key.pem', 'extendedKeyUsage=clientAuth\n');
}

function authority(database: string, serial: string): string {
  return `[ca]\ndefault_ca = a\n[a]\ndatabase = ${database}\nserial = ${serial}\nrand_serial = yes\ndefault_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n`;
}
