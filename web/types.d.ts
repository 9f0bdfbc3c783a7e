// Shapes that the editor's modules share. Read by the type checker alone; nothing of it ships.

/** A field path as a list of steps: ['nodes', 'alarm', 'config', 'above']. */
type Path = (string | number)[];
type Point = [x: number, y: number];
type Size = { w: number; h: number };
type Box = { x: number; y: number; w: number; h: number };
/** A long text: the file may hold it as a list of lines. */
type Lines = string | string[];

interface NodeSpec {
  type: string;
  title?: string;
  doc?: Lines;
  config?: Record<string, any>;
  disabled?: boolean;
  [extra: string]: any;
}

/** What a node type is, as the API tells it. */
interface NodeType {
  name: string;
  family: string;
  title?: string;
  category?: string;
  kind: 'source' | 'transform' | 'sink' | 'note' | 'connection';
  shows?: string | null;
  powers?: string[];
  summary: string;
  doc: string;
  outputs: string[];
  outputs_vary: boolean;
  optional: string[];
  has_input: boolean;
  connections: Record<string, string[]>;
  config: Schema | null;
  origin?: string;
  identity?: string | null;
}

/** The part of JSON Schema that config models give. */
interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: any;
  enum?: any[];
  const?: any;
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
  minLength?: number;
  maxLength?: number;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  required?: string[];
  examples?: any[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  'x-connection'?: string[];
  'x-ui'?: Record<string, any>;
}

/** A wire; `output` is '' where the file leaves out the first output. `id` is its text in the file. */
interface Wire {
  id: string;
  from: string;
  output: string;
  to: string;
  settings: Record<string, any>;
}

interface Group {
  title: string;
  nodes: string[];
}

/** A flow document as the file and the API have it. */
interface FlowDoc {
  nodes?: Record<string, NodeSpec>;
  wires?: (string | Record<string, any>)[];
  title?: string;
  doc?: Lines;
  params?: Record<string, any>;
  connections?: Record<string, { type: string; config?: Record<string, any>; [key: string]: any }>;
  [key: string]: any;
}

/** One change of a flow; `put` without `value` removes. */
type Op =
  | { op: 'put'; path: Path; value?: any }
  | { op: 'wire'; wire: Wire }
  | { op: 'unwire'; id: string }
  | { op: 'move'; at: Record<string, Point | null> }
  | { op: 'rename'; from: string; to: string };

/** What a change touched, for the views. */
interface Changed {
  nodes: Set<string>;
  wires: Set<string>;
  moved: Set<string>;
  head: boolean;
  all: boolean;
}

/** One step of the journal. */
interface Step {
  label: string;
  ops: Op[];
  back: Op[];
  key: string;
  time: number;
}

interface Finding {
  slug: string;
  severity: 'error' | 'warning';
  what: string;
  mend: string;
  where: {
    node: string | null;
    wire: string | null;
    field: string | null;
    connection: string | null;
    [key: string]: any;
  };
}

interface Types {
  get(name: string): NodeType | undefined;
  values(): IterableIterator<NodeType>;
}

/** Where a drawn wire runs: a cubic, or the corners of a way back below. */
interface Curve {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
  /** Control points of the cubic; null for a way back. */
  c: [number, number, number, number] | null;
  corners: Point[];
  box: Box;
}

/** What the canvas needs to know of a node. */
interface Drawn extends Box {
  outs: string[];
  input: boolean;
  error: boolean;
  note: boolean;
}

type Port = { id: string; side: 'in' | 'out'; output: string; x: number; y: number };

interface Field {
  name: string;
  label: string;
  help: string;
  widget: string;
  required: boolean;
  advanced: boolean;
  group: string | null;
  default: any;
  has_default: boolean;
  nullable: boolean;
  references: string[];
  unit: string | null;
  placeholder: string | null;
  examples: any[];
  min: number | null;
  max: number | null;
  step: number | null;
  min_length: number | null;
  max_length: number | null;
  pattern: string | null;
  lines: boolean;
  options: { value: any; label: string }[] | null;
  options_from: string | null;
  connection_types: string[];
  item: Field | null;
  key_label: string | null;
  fields: Field[] | null;
  ways: { label: string; field: Field }[] | null;
}

interface Form {
  type: string;
  title: string;
  summary: string;
  doc: string;
  fields: Field[];
}

interface Check {
  ok: boolean;
  errors: number;
  warnings: number;
  findings: Finding[];
}

interface FlowState {
  id: string;
  title: string;
  nodes: number;
  draft: { rev: number; etag: string; by: string | null; at: string | null; changed: boolean };
  deployed: { entry: number; at: string; by: string | null; nodes: number } | null;
  running: boolean;
  file_changed: boolean;
  refused: Finding[];
  errors: number;
  warnings: number;
}

interface Whole {
  state: FlowState;
  document: FlowDoc;
  shared: Record<string, any>;
  layout: Record<string, Point>;
  layout_etag: string;
  check: Check;
  runs: any;
}

interface NodeNow {
  in?: number;
  out?: Record<string, number>;
  rate?: Record<string, number>;
  filtered?: number;
  failed?: number;
  unwired?: Record<string, number>;
  dropped?: Record<string, number>;
  depth?: number;
  capacity?: number;
  blocked?: boolean;
  [key: string]: any;
}

/** An action of the registry: what palette, menus and keys run. */
interface Action {
  id: string;
  title: string | ((app: any) => string);
  group: string;
  icon?: string;
  /** As "Ctrl+K"; single letters work only where canvas or outline has the focus. */
  keys?: string[];
  /** Whether it can be done now; left out: always. */
  when?: (app: any) => any;
  /** Works in a read-only view too. */
  reads?: boolean;
  /** Not listed in the palette: arrow keys and the like. */
  quiet?: boolean;
  run: (app: any, args?: any) => any;
}
