/* The sums of `resample.py`, compiled: the same bits, because they are exact (see there), and no array on the way. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* The widest vectors that the processor has, chosen when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define WIDEST __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define WIDEST
#endif

#define LANES 8   /* sums side by side; the width of windows is a multiple of it */
#define VECTORS 4 /* of them at once */
typedef double vector __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));
typedef int32_t integers __attribute__((vector_size(LANES * sizeof(int32_t))));

/* Nearest, halves to even (IEEE 754): 1.5·2^52 leaves no room for a fraction. Sums are far below 2^31. */
static const double SHIFT = 6755399441055744.0;

static inline int16_t saturated(int32_t sum)
{
    return (int16_t)(sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : sum);
}

/* One phase where each input has as many outputs: output n, at `out[n * up]`, is the window from `in[n]` on. */
WIDEST static void filter_phase(const double *in, const double *weights, Py_ssize_t width, Py_ssize_t count,
                                Py_ssize_t up, int16_t *out)
{
    for (Py_ssize_t n = 0; n < count; n += VECTORS * LANES) {
        vector sums[VECTORS] = {{0}};
        for (Py_ssize_t k = 0; k < width; k++)
            for (int each = 0; each < VECTORS; each++)
                sums[each] += weights[k] * *(const vector *)(in + n + k + each * LANES);
        int32_t whole[VECTORS * LANES];
        for (int each = 0; each < VECTORS; each++) {
            integers rounded = __builtin_convertvector((sums[each] + SHIFT) - SHIFT, integers);
            memcpy(whole + each * LANES, &rounded, sizeof rounded);
        }
        const Py_ssize_t left = count - n < VECTORS * LANES ? count - n : VECTORS * LANES;
        for (Py_ssize_t lane = 0; lane < left; lane++)
            out[(n + lane) * up] = saturated(whole[lane]);
    }
}

/* Any ratio: output m is the window from `in[m * down / up]` on, with the weights of its phase. */
WIDEST static void filter_any(const double *in, const double *weights, Py_ssize_t width, Py_ssize_t first,
                              Py_ssize_t last, Py_ssize_t up, Py_ssize_t down, int16_t *out)
{
    for (Py_ssize_t m = first; m < last; m++) {
        const double *window = in + m * down / up, *row = weights + m * down % up * width;
        vector sums = {0};
        for (Py_ssize_t k = 0; k < width; k += LANES)
            sums += *(const vector *)(row + k) * *(const vector *)(window + k);
        double sum = 0;
        for (int lane = 0; lane < LANES; lane++)
            sum += sums[lane];
        out[m - first] = saturated((int32_t)((sum + SHIFT) - SHIFT));
    }
}

static void widen(const char *pcm, Py_ssize_t samples, double *out)
{
    for (Py_ssize_t n = 0; n < samples; n++) {
        int16_t sample;
        memcpy(&sample, pcm + 2 * n, 2);
        out[n] = sample;
    }
}

PyDoc_STRVAR(resample_doc,
             "resample(signal, weights, up, down, first, last)\n--\n\n"
             "Outputs `first` to `last` of a signal that begins with the window of output 0.\n\n"
             "signal: int16, native; weights: float64, a row per phase (`up` of them), all of the same width, a multiple\n"
             "of 8. Where `down` is 1, the first output of a period is the input in the middle of its window.\n"
             "Returns int16, native. Raises ValueError where the last window or a row of weights is not there.");

static PyObject *resample(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer signal, table;
    Py_ssize_t up, down, first, last;
    if (!PyArg_ParseTuple(args, "y*y*nnnn", &signal, &table, &up, &down, &first, &last))
        return NULL;
    PyObject *result = NULL;
    double *in = NULL;
    const Py_ssize_t samples = signal.len / 2, limit = PY_SSIZE_T_MAX / 64;
    const Py_ssize_t width = up > 0 ? table.len / (Py_ssize_t)sizeof(double) / up : 0;
    if (up < 1 || down < 1 || up > 65536 || down > 65536 || first < 0 || last < first || last > limit / 65536 ||
        width < LANES || width % LANES || table.len != width * up * (Py_ssize_t)sizeof(double) ||
        (uintptr_t)table.buf % sizeof(double) || samples > limit ||
        (last > first && (last - 1) * down / up + 1 > samples)) {
        PyErr_SetString(PyExc_ValueError, "no such outputs of this signal");
        goto done;
    }
    /* Windows are as wide as the weights, of which those beyond the signal's end are zero; and lanes may be empty. */
    in = PyMem_Calloc((size_t)(samples + width + VECTORS * LANES), sizeof(double));
    result = PyBytes_FromStringAndSize(NULL, 2 * (last - first));
    if (in == NULL || result == NULL) {
        Py_CLEAR(result);
        PyErr_NoMemory();
        goto done;
    }
    widen(signal.buf, samples, in);
    int16_t *out = (int16_t *)PyBytes_AsString(result);
    if (down > 1) {
        filter_any(in, table.buf, width, first, last, up, down, out);
        goto done;
    }
    for (Py_ssize_t m = first; m < last && m < first + up; m++) {
        const Py_ssize_t phase = m % up, from = m / up, count = (last - m + up - 1) / up;
        if (phase > 0)
            filter_phase(in + from, (const double *)table.buf + phase * width, width, count, up, out + (m - first));
        else
            for (Py_ssize_t n = 0; n < count; n++)
                out[m - first + n * up] = (int16_t)in[from + n + width / 2 - 1];
    }
done:
    PyMem_Free(in);
    PyBuffer_Release(&signal);
    PyBuffer_Release(&table);
    return result;
}

static PyMethodDef methods[] = {{"resample", resample, METH_VARARGS, resample_doc}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_filter", .m_size = 0, .m_methods = methods};

PyMODINIT_FUNC PyInit__filter(void)
{
    return PyModule_Create(&module);
}
