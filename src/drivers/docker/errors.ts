import { type ErrorCode, KatafleetError, messageOf } from '../../model/errors.ts';

/** The fields that docker-modem sets on its errors. */
interface EngineError {
  statusCode?: number;
  code?: string;
  json?: { message?: string };
}

const certificateFaults: Record<string, string> = {
  CERT_HAS_EXPIRED: 'has expired',
  CERT_NOT_YET_VALID: 'is not valid yet',
  CERT_REVOKED: 'is revoked',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'is signed by itself, not by the authority that was named',
  SELF_SIGNED_CERT_IN_CHAIN: 'is signed by another authority than the one that was named',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'is signed by another authority than the one that was named',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'is signed by another authority than the one that was named',
  ERR_TLS_CERT_ALTNAME_INVALID: 'is for another host name',
};

/** Converts an engine's error, or the failure to reach the engine, to a KatafleetError. `doing` completes "can't …". */
export function engineError(error: unknown, endpoint: string, doing: string): KatafleetError {
  if (error instanceof KatafleetError) return error;
  const { statusCode, code, json }: EngineError = typeof error === 'object' && error !== null ? error : {};
  const said = json?.message ?? messageOf(error);
  const about = (kind: ErrorCode, message: string, hint?: string) => new KatafleetError(kind, message, { cause: error, hint });
  if (code === 'EACCES' || code === 'EPERM') {
    return about(
      'engine.permission',
      `no permission to use the engine at ${endpoint}`,
      'be root, or join the group docker: usermod -aG docker "$USER", then log in again',
    );
  }
  if (statusCode === undefined && code?.startsWith('HPE_')) {
    return about('engine.failed', `the server at ${endpoint} is not a Docker engine: it does not speak HTTP (${said})`);
  }
  if (statusCode === undefined && code !== undefined && code in certificateFaults) {
    return about(
      'engine.certificate',
      `the certificate of ${endpoint} ${certificateFaults[code] ?? ''} (${code})`,
      "renew it with dockerd's --tlscert and --tlskey, or name the authority that signed it (ca.pem)",
    );
  }
  if (statusCode === undefined) {
    return about(
      'engine.unreachable',
      `no engine answers at ${endpoint} (${said})`,
      'start it, or say where it is with --host or DOCKER_HOST; katafleet doctor looks closer',
    );
  }
  if (/no space left on device/i.test(said)) {
    return about(
      'engine.disk_full',
      `the node's disk is full: can't ${doing} at ${endpoint} (${said})`,
      'make room: docker image prune, docker container prune',
    );
  }
  if (statusCode === 404 && /no such image/i.test(said)) return about('image.unknown', said);
  if (statusCode === 409) return about('engine.conflict', `can't ${doing} at ${endpoint}: ${said}`);
  return about('engine.failed', `can't ${doing} at ${endpoint}: ${said}`);
}

export const isStatus = (error: unknown, ...statuses: number[]): boolean =>
  statuses.includes((error as EngineError | undefined)?.statusCode ?? 0);
