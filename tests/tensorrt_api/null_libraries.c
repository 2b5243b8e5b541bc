/* The nine entry points that the TensorRT 11 Python bindings link to, each of which gives nothing.
 *
 * Compiled as libnvinfer.so.11, libnvonnxparser.so.11 and libnvinfer_plugin.so.11, they let the bindings be imported on
 * a machine without TensorRT, so that their names and signatures can be read. Nothing can be built or run over them:
 * `tensorrt.Builder()` raises TypeError. Test aid; never installed. */
#include <stdbool.h>
#include <stddef.h>

void *createInferBuilder_INTERNAL(void *logger, int version) { (void)logger, (void)version; return NULL; }
void *createInferRuntime_INTERNAL(void *logger, int version) { (void)logger, (void)version; return NULL; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { (void)engine, (void)logger, (void)version; return NULL; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { (void)network, (void)logger, (void)version; return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { (void)refitter, (void)logger, (void)version; return NULL; }
void *getBuilderPluginRegistry(int capability) { (void)capability; return NULL; }
void *getPluginRegistry(void) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
bool initLibNvInferPlugins(void *logger, const char *library) { (void)logger, (void)library; return false; }
