export { Component, Fragment, createRef, options, render } from "preact";
export type { ComponentChildren, VNode } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, untracked, useComputed, useSignal } from "@preact/signals";
export type { Signal, ReadonlySignal } from "@preact/signals";
export function html(strings: TemplateStringsArray, ...values: any[]): any;
