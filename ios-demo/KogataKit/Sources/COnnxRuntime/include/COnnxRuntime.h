// onnxruntime's C API. Package.swift finds the folder with this header.
#include <onnxruntime_c_api.h>
