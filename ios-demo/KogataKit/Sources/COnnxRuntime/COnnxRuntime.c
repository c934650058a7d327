// Only the header's declarations are used: onnxruntime itself is opened at run time.
#include "COnnxRuntime.h"
