/** An endpoint without its password. */
export function maskEndpoint(endpoint: string): string {
  return endpoint.replace(/^(\w+:\/\/[^/@:]*):[^@/]*@/, '$1:***@');
}
