// A character-level LSTM in plain JavaScript: it reads one character at a time, and says which ones it expects next.
//
// charrnn trains it in Python (lstm.py beside this file); this is the same model for a browser, its weights in 8 bits.
// LSTM: Hochreiter & Schmidhuber 1997.

// The characters that a model knows, by their numbers; if `unknown` is true, 0 stands for all others.
class Vocabulary {
  constructor({ characters, unknown, normal_form, marks }) {
    this.characters = unknown ? ["\ufffd", ...characters] : characters;
    this.hasUnknown = unknown;
    this.first = Number(unknown); // the number of the first character
    this.normalForm = normal_form;
    this.marks = marks;
    this.numbers = new Map(characters.map((character, place) => [character, place + this.first]));
  }

  // A character as it can be shown in a text.
  shown(number) {
    return this.marks[this.characters[number]] ?? this.characters[number];
  }

  // A character as it can be spoken of: with a sign for what nobody would see.
  named(number) {
    return { " ": "␣", "\n": "↵", "\t": "⇥" }[this.characters[number]] ?? this.shown(number);
  }

  // The number of the character that comes before a text: a text is the beginning of a line, if the model knows lines.
  start() {
    return this.numbers.get("\n") ?? this.first;
  }

  // A text as its characters: whole code points, in the normal form that the model was trained on.
  split(text) {
    return Array.from(this.normalForm ? text.normalize(this.normalForm) : text);
  }

  // The characters of a text that the model does not know, each once.
  missing(text) {
    return [...new Set(this.split(text))].filter((character) => !this.numbers.has(character));
  }

  // The numbers of a text's characters. Ask for those that are missing first: without `unknown` they have no number.
  encode(text) {
    return this.split(text).map((character) => this.numbers.get(character) ?? 0);
  }
}

class CharLSTM {
  // `shape` is the model's config.json. `floats` and `bytes` hold its weights, in the order in which they are read here.
  constructor({ shape, floats, bytes }) {
    const vectors = new Float32Array(decoded(floats).buffer), wholes = new Int8Array(decoded(bytes).buffer);
    let nextFloat = 0, nextWhole = 0;
    const vector = (size) => vectors.subarray(nextFloat, (nextFloat += size));
    // Each row of a matrix is whole numbers from -127 to 127, times what one of them is worth in that row.
    const matrix = (rows, columns) => {
      const worth = vector(rows), weights = new Float32Array(rows * columns);
      for (let row = 0, at = 0; row < rows; row++)
        for (const end = at + columns; at < end; at++) weights[at] = wholes[nextWhole++] * worth[row];
      return weights;
    };

    const { vocab_size, hidden_size, num_layers, embedding_size, tie_weights } = shape;
    this.size = hidden_size;
    this.embeddingSize = embedding_size;
    this.vocabSize = vocab_size;
    this.embedding = embedding_size ? matrix(vocab_size, embedding_size) : null;
    this.layers = Array.from({ length: num_layers }, (_, layer) => ({
      input: matrix(4 * hidden_size, layer ? hidden_size : embedding_size || vocab_size),
      recurrent: matrix(4 * hidden_size, hidden_size),
      bias: vector(4 * hidden_size),
    }));
    this.output = tie_weights ? this.embedding : matrix(vocab_size, hidden_size);
    this.outputBias = vector(vocab_size);
    this.inputs = []; // what each character adds to the gates of the first layer, once it has been read
    this.reset();
  }

  // Forgets all that was read.
  reset() {
    for (const layer of this.layers) {
      layer.cells = new Float64Array(this.size); // what the layer remembers
      layer.hidden = new Float64Array(this.size); // what it tells of that to the layer above, and to itself
    }
  }

  // Reads a character, by its number. Returns the logits of the next one: the higher, the likelier.
  step(token) {
    let below = null;
    for (const layer of this.layers) {
      // Four numbers for each cell, from what is below and from what this layer said at the character before.
      const gates = below ? Float64Array.from(layer.bias) : Float64Array.from(this.inputOf(token));
      if (below) addProduct(gates, layer.input, below);
      addProduct(gates, layer.recurrent, layer.hidden);
      for (let cell = 0; cell < this.size; cell++) {
        const write = sigmoid(gates[cell]); // the input gate: how much of the new is written into the cell
        const keep = sigmoid(gates[cell + this.size]); // the forget gate: how much of the old stays
        const fresh = Math.tanh(gates[cell + 2 * this.size]); // the new
        const show = sigmoid(gates[cell + 3 * this.size]); // the output gate: how much of the cell is shown
        layer.cells[cell] = keep * layer.cells[cell] + write * fresh;
        layer.hidden[cell] = show * Math.tanh(layer.cells[cell]);
      }
      below = layer.hidden;
    }
    const logits = Float64Array.from(this.outputBias);
    addProduct(logits, this.output, below);
    return logits;
  }

  // What a character adds to the gates of the first layer: the same each time it is read.
  inputOf(token) {
    if (!this.inputs[token]) {
      const { input, bias } = this.layers[0], sum = Float64Array.from(bias), size = this.embeddingSize;
      if (size) addProduct(sum, input, this.embedding.subarray(token * size, (token + 1) * size));
      else for (let gate = 0; gate < sum.length; gate++) sum[gate] += input[gate * this.vocabSize + token];
      this.inputs[token] = sum;
    }
    return this.inputs[token];
  }
}

// How likely each character is to come next. A temperature below 1 makes the likely likelier, one above 1 brings all
// closer together; 0 puts everything on the likeliest.
function probabilities(logits, temperature = 1) {
  const most = logits.reduce((high, logit) => Math.max(high, logit)), first = logits.indexOf(most);
  if (temperature === 0) return logits.map((_, token) => (token === first ? 1 : 0));
  const weights = logits.map((logit) => Math.exp((logit - most) / temperature));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

// The numbers of the likeliest characters, the likeliest first.
function likeliest(chances, count) {
  return Array.from(chances.keys()).sort((one, other) => chances[other] - chances[one]).slice(0, count);
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

// Adds the product of a matrix and a vector to `sums`. Four rows at once, as a processor adds to four sums in the time
// that it takes to add to one.
function addProduct(sums, matrix, vector) {
  const size = vector.length;
  let row = 0;
  for (; row + 3 < sums.length; row += 4) {
    const a = row * size, b = a + size, c = b + size, d = c + size;
    let sumA = 0, sumB = 0, sumC = 0, sumD = 0;
    for (let column = 0; column < size; column++) {
      const value = vector[column];
      sumA += matrix[a + column] * value;
      sumB += matrix[b + column] * value;
      sumC += matrix[c + column] * value;
      sumD += matrix[d + column] * value;
    }
    sums[row] += sumA;
    sums[row + 1] += sumB;
    sums[row + 2] += sumC;
    sums[row + 3] += sumD;
  }
  for (; row < sums.length; row++)
    for (let column = 0; column < size; column++) sums[row] += matrix[row * size + column] * vector[column];
}

// The bytes that a base64 text stands for.
function decoded(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}
