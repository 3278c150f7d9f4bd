// Events as AWS sends them to a function, and the parts of its answer.
const lists = (fields) => Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, [value]]));

/** @typedef {{ method: string, path: string, headers: Record<string, string>, body: string | null, address: string }} Sent */

/** API Gateway, REST API (payload 1.0). */
function restEvent({ method, path, headers, body, address }) {
  return {
    resource: "/{proxy+}",
    ...{ path, httpMethod: method, headers, multiValueHeaders: lists(headers) },
    ...{ queryStringParameters: null, multiValueQueryStringParameters: null, pathParameters: { proxy: path.slice(1) } },
    stageVariables: null,
    requestContext: {
      ...{ accountId: "1", apiId: "a", stage: "prod", requestId: "r", resourcePath: "/{proxy+}", httpMethod: method },
      ...{ path: `/prod${path}`, protocol: "HTTP/1.1", identity: { sourceIp: address, userAgent: "check" } },
    },
    ...{ body, isBase64Encoded: false },
  };
}

/** API Gateway, HTTP API (payload 2.0), and function URLs. */
function httpEvent({ method, path, headers, body, address }) {
  return {
    ...{ version: "2.0", routeKey: "$default", rawPath: path, rawQueryString: "", cookies: [], headers },
    requestContext: {
      ...{ accountId: "1", apiId: "a", domainName: "a.example.com", stage: "$default", requestId: "r" },
      http: { method, path, protocol: "HTTP/1.1", sourceIp: address, userAgent: "check" },
    },
    ...(body === null ? {} : { body }),
    isBase64Encoded: false,
  };
}

/** A target group of an Application Load Balancer. It adds the address of the client to X-Forwarded-For. */
function balancerEvent({ method, path, headers, body, address }) {
  const forwarded = [headers["x-forwarded-for"], address].filter(Boolean).join(", ");
  return {
    requestContext: { elb: { targetGroupArn: "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/orders/1" } },
    ...{ httpMethod: method, path, queryStringParameters: {} },
    headers: { ...headers, "x-forwarded-for": forwarded, "x-forwarded-proto": "https", "x-forwarded-port": "443" },
    ...{ body: body ?? "", isBase64Encoded: false },
  };
}

export const sources = [
  { source: "API Gateway v1", eventOf: restEvent, behindProxy: false },
  { source: "API Gateway v2", eventOf: httpEvent, behindProxy: false },
  { source: "ALB", eventOf: balancerEvent, behindProxy: true },
];

/** The answer of a function: its fields in lower case, whichever way they were given. */
export function readAnswer({ statusCode, headers = {}, multiValueHeaders = {}, body, isBase64Encoded }) {
  const all = {
    ...headers,
    ...Object.fromEntries(Object.entries(multiValueHeaders).map(([n, v]) => [n, v.join(", ")])),
  };
  const fields = Object.fromEntries(Object.entries(all).map(([name, value]) => [name.toLowerCase(), String(value)]));
  const text = isBase64Encoded ? Buffer.from(body, "base64").toString() : (body ?? "");
  return { status: statusCode, fields, text };
}
