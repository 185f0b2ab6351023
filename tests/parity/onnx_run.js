// onnx_run.js - runs jobs through onnxruntime: node onnx_run.js MODULE JOBS
// JOBS: a JSON list of {model, input, shape, outputs: {name: file}}; arrays are files of little-endian f32.
const fs = require("fs");
const ort = require(process.argv[2]);

const floats = file => {
    const bytes = fs.readFileSync(file);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
};

async function main() {
    for (const job of JSON.parse(fs.readFileSync(process.argv[3]))) {
        const session = await ort.InferenceSession.create(job.model, { intraOpNumThreads: 1, interOpNumThreads: 1 });
        const image = new ort.Tensor("float32", floats(job.input), job.shape);
        const got = await session.run({ image }, Object.keys(job.outputs));
        for (const [name, file] of Object.entries(job.outputs)) {
            const { data } = got[name];
            fs.writeFileSync(file, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
        }
    }
}

main().catch(error => {
    console.error(String(error));
    process.exit(1);
});
